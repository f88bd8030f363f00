#!/usr/bin/env bats
# Clients that nobody here wrote.
load support/helpers

@test "redis-benchmark: an echoed array command is a valid reply" {
    rule "any client works" "answers that are not what was sent" "chapter 1"
    need redis-benchmark "as a client" "install redis-tools"
    local clients=50
    [ "$VARIANT" != "01-blocking -1" ] || clients=1
    start_server
    run redis-benchmark -p "$PORT" -t ping_mbulk -c $clients -n 20000 -q
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *"requests per second"* ]]
    next_client_works
}

@test "socat and ncat: what goes in comes out, FIN and all" {
    rule "any client works" "closing before the last bytes are sent" "chapter 1"
    need socat "as a client" "install socat"
    need ncat "as a client" "install ncat"
    start_server
    head -c 3000000 /dev/urandom >"$TMP/blob"
    socat -t 10 - "TCP:127.0.0.1:$PORT" <"$TMP/blob" | cmp - "$TMP/blob"
    ncat 127.0.0.1 "$PORT" <"$TMP/blob" | cmp - "$TMP/blob"
    [ "$(printf 'hello\n' | ncat 127.0.0.1 "$PORT")" = hello ]
    next_client_works
}
