#!/bin/sh
# sh one-packet.sh >../src/images/one-packet.svg
# The journey of chapter 7, from the recording of the card: the tracer's own drawing, 360 units wide.
cd "$(dirname "$0")/../../07-nic-to-app" || exit 1
make -s trace >&2 || exit 1
drawing=$(mktemp) || exit 1
trap 'rm -f "$drawing"' EXIT
./trace replay recordings/card-e1000.txt -n 1 --svg "$drawing" >/dev/null && cat "$drawing"
