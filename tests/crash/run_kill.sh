#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kill -9 harness for the everyday suite: it must catch its planted losses, then find none.
set -eu
dir=$(dirname "$0")/kill
self=$("$dir/run_kill.py" --self-check) || { echo "$self"; exit 1; }
echo "$self" | grep -v ' passed, '
caught=$(echo "$self" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
run=$("$dir/run_kill.py" --cycles "${CYCLES:-20}") || { echo "$run"; exit 1; }
echo "$run" | grep -v ' passed, '
cycles=$(echo "$run" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
echo "$((caught + cycles)) passed, 0 failed"
