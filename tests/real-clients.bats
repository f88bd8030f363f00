#!/usr/bin/env bats
# Clients that other projects wrote.
load support/helpers

@test "redis-benchmark receives its own commands as valid replies" {
    rule "any TCP client can use the server" "the reply differs from what was sent" "chapter 1"
    need redis-benchmark "as a client" "install redis-tools"
    local clients=50
    [ "$VARIANT" != "01-blocking -1" ] || clients=1
    start_server
    run redis-benchmark -p "$PORT" -t ping_mbulk -c $clients -n 5000 -q
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *"requests per second"* ]]
    next_client_works
}

@test "socat and ncat receive everything that they send, followed by FIN" {
    rule "any TCP client can use the server" "the server closes before the last bytes are sent; if bytes differ: $SHORT_WRITE; if the client times out: $ONE_READ" "chapter 1"
    need socat "as a client" "install socat"
    need ncat "as a client" "install ncat"
    start_server
    head -c 3000000 /dev/urandom >"$TMP/blob"
    socat -t 10 - "TCP:127.0.0.1:$PORT" <"$TMP/blob" | cmp - "$TMP/blob"
    ncat 127.0.0.1 "$PORT" <"$TMP/blob" | cmp - "$TMP/blob"
    [ "$(printf 'hello\n' | ncat 127.0.0.1 "$PORT")" = hello ]
    next_client_works
}
