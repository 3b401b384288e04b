#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway as one server with the fakes around it: every statement of its specification is a check
that begins with the statement's number. ONLY=pattern picks functions, REQUESTS=n the isolation run's length.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import venv  # noqa: E402

venv.use("requirements.txt")

import gateway_authn  # noqa: E402
import gateway_http  # noqa: E402
import gateway_ops  # noqa: E402
import gateway_query  # noqa: E402
import gateway_sdk  # noqa: E402
from checks import Checks  # noqa: E402

if __name__ == "__main__":
    c = Checks()
    for module in (gateway_http, gateway_authn, gateway_query, gateway_ops, gateway_sdk):
        module.run(c)
    c.finish()
