#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tokens.json: a key set and tokens made by another implementation (Python's cryptography), which
test_auth_jwt verifies. Run again only to add cases; every run makes new keys."""
import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))
from fake_oidc import ALGS, Key, b64  # noqa: E402

ISSUER, CLIENT, FOREVER = "https://issuer.example", "client", 4102444800


def token(alg, key, kid=True, header=None, sign=None, **claims):
    head = {"alg": alg, "typ": "JWT", **({"kid": key.kid} if kid is True else {"kid": kid} if kid else {}),
            **(header or {})}
    body = {"iss": ISSUER, "aud": CLIENT, "sub": "alice", "exp": FOREVER, "groups": ["a", "b"], **claims}
    signed = b64(json.dumps(head).encode()) + "." + b64(json.dumps(body).encode())
    signature = sign(signed.encode()) if sign else key.sign(alg, signed.encode())
    return signed + "." + b64(signature)


def main():
    keys = {kind: Key(kind, kid=kind) for kind in ("RSA", "ES256", "ES384", "ES512", "EdDSA")}
    other = Key("RSA", kid="other")
    small = Key("RSA", kid="small")
    small.private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    rs = keys["RSA"]
    public_pem = rs.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public_der = rs.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    n = base64.urlsafe_b64decode(rs.jwk()["n"] + "==")

    def hs(secret):
        return lambda data: hmac.new(secret, data, hashlib.sha256).digest()

    def of(alg):
        return keys.get(alg, rs)

    good = {alg: token(alg, of(alg)) for alg in ALGS}
    good["no kid"] = token("RS256", rs, kid=None)
    good["no kid, ES384"] = token("ES384", keys["ES384"], kid=None)
    bad = {
        "none": token("none", rs, sign=lambda d: b""),
        "None": token("None", rs, sign=lambda d: b""),
        "none with a signature": token("none", rs, sign=lambda d: rs.sign("RS256", d)),
        "HS256 of the public PEM": token("HS256", rs, sign=hs(public_pem)),
        "HS256 of the public DER": token("HS256", rs, sign=hs(public_der)),
        "HS256 of the modulus": token("HS256", rs, sign=hs(n)),
        "HS256 of the JWK's key": token("HS256", rs, kid="secret", sign=hs(b"shared secret")),
        "lower case": token("rs256", rs, sign=lambda d: rs.sign("RS256", d)),
        "another key of that kid": token("RS256", other, kid="RSA"),
        "small key": token("RS256", small),
        "RS256 said, PS256 signed": token("RS256", rs, sign=lambda d: rs.sign("PS256", d)),
        "PS256 said, RS256 signed": token("PS256", rs, sign=lambda d: rs.sign("RS256", d)),
        "RS512 said, RS256 signed": token("RS512", rs, sign=lambda d: rs.sign("RS256", d)),
        "ES256 of a P-384 key": token("ES256", keys["ES384"], sign=lambda d: b"\0" * 64),
        "ES256 of zeros": token("ES256", keys["ES256"], sign=lambda d: b"\0" * 64),
        "RS256 by the kid of an EC key": token("RS256", rs, kid="ES256"),
        "ES256 as DER": token("ES256", keys["ES256"], sign=lambda d: der(keys["ES256"], d)),
        "encryption key": token("RS256", other, kid="enc"),
        "empty signature": token("RS256", rs, sign=lambda d: b""),
    }
    jwks = [k.jwk() for k in keys.values()]
    jwks.append({**other.jwk(), "kid": "enc", "use": "enc"})
    jwks.append(small.jwk())
    jwks.append({"kty": "oct", "kid": "secret", "k": b64(b"shared secret")})
    jwks.append({"kty": "EC", "kid": "off", "crv": "P-256", "x": b64(b"\1" * 32), "y": b64(b"\2" * 32)})
    jwks.append({"kty": "RSA", "kid": "no modulus", "e": "AQAB"})
    jwks.append({"kty": "PQC", "kid": "tomorrow"})
    (HERE / "tokens.json").write_text(json.dumps(
        {"jwks": {"keys": jwks}, "good": good, "bad": bad}, indent=1) + "\n")


def der(key, data):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    return key.private.sign(data, ec.ECDSA(hashes.SHA256()))


if __name__ == "__main__":
    main()
