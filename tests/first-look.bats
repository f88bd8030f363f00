#!/usr/bin/env bats
# A first look at your own server (make test SERVER=): the rules that every other test depends on, in
# the order in which one builds a server.  The probe (tests/programs/probe.c) examines it and finds
# out which of the common mistakes it makes.
load support/helpers

@test "it starts and listens" {
    rule "the server listens on 127.0.0.1, on the port that it is given" "the server uses another port or address, or never calls listen()" "chapter 1"
    start_server
}

@test "it echoes a message" {
    rule "the server sends back what a client sends, at once" "the reply is not sent" "chapter 1"
    start_server
    look message
}

@test "it echoes a second message, and serves a second client after the first" {
    rule "the server serves each client until it leaves, and then the next one" "accept() or recv() is called only once" "chapter 1"
    start_server
    look again
}

@test "it echoes every byte value" {
    rule "the data is binary: all 256 byte values come back" "the server uses string functions, which stop at a zero byte" "chapter 1"
    start_server
    look binary
}

@test "it serves two clients at the same time" {
    rule "a client that sends nothing does not block the server" "a blocking read in the only thread" "chapter 2"
    need_concurrent_clients
    start_server
    look together
}

@test "it waits without using the CPU" {
    rule "a server with nothing to do uses no CPU time" "a loop that does not wait" "chapter 2"
    start_server
    look idle
}

@test "it echoes 4 MB" {
    rule "no byte of a long stream is lost, duplicated or out of order" "$SHORT_WRITE" "chapter 2"
    start_server
    look large
}

@test "it echoes what it received before the client's FIN, and then sends FIN" {
    rule "after a half-close the server echoes the rest and then sends FIN, never RST" "the server closes the connection before recv() has returned 0" "chapter 1"
    start_server
    look half-close
}

@test "it serves other clients while one does not read, and loses nothing" {
    rule "the server keeps what a client has not read yet, and meanwhile serves the others" "$SHORT_WRITE" "chapter 2"
    need_concurrent_clients
    start_server
    look late-reader
}
