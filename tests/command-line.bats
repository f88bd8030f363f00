#!/usr/bin/env bats
# The command line of our own stages: what they print, on which stream, and their exit codes.
load support/helpers

# server_refuses CODE TEXT OPTION...: the server exits with CODE.  The first line on stderr has TEXT, and the
# usage follows it if CODE is 2.  Nothing is on stdout.
server_refuses() {
    local code=$1 text=$2 status=0 pid
    shift 2
    # shellcheck disable=SC2086
    "$SERVER" ${VARIANT_ARGS:-} "$@" >"$TMP/out" 2>"$TMP/err" 3>&- &
    pid=$!
    PIDS="$pid $PIDS"
    wait_until 5 has_exited "$pid"
    wait "$pid" || status=$?
    cat "$TMP/err"
    [ "$status" = "$code" ]
    [ ! -s "$TMP/out" ]
    head -n 1 "$TMP/err" | grep -qF -e "$text"
    if [ "$code" = 1 ]; then
        [ "$(wc -l <"$TMP/err")" = 1 ]
    else
        grep -q '^usage: server ' "$TMP/err"
    fi
}

@test "a bad option, value or operand: one line and the usage on stderr, exit code 2" {
    rule "a wrong command line is explained, with exit code 2" "atoi(), which accepts anything as a number" "chapter 1"
    local word
    for word in x -1 65536 5566x '' ' 5566' +5566 99999999999; do
        test_case "-p '$word'"
        server_refuses 2 "$word" -p "$word"
    done
    server_refuses 2 -p -p
    server_refuses 2 -b -b
    server_refuses 2 -Z -Z
    server_refuses 2 operand operand
    server_refuses 2 5566 -p 0 5566
}

@test "-h prints the usage on stdout, exit code 0" {
    rule "asking for help is not an error" "the usage is printed on stderr, or the exit code is 1" "chapter 1"
    "$SERVER" -h >"$TMP/out" 2>"$TMP/err"
    grep -q '^usage: server \[-v\] \[-b ADDRESS\] \[-p PORT\]' "$TMP/out"
    [ ! -s "$TMP/err" ]
    [ "$(awk 'length > 90' "$TMP/out" | wc -l)" = 0 ]
}

@test "when it is ready, the server prints exactly one line, with the port that it uses" {
    rule "stdout has one line, which is flushed when clients can connect" "stdout is a pipe, so the line stays in the buffer without fflush()" "chapter 1"
    start_server
    grep -qx "listening on 127.0.0.1:$PORT" "$TMP/server.out"
    [ "$PORT" -gt 0 ]
    next_client_works
    stop_server
    [ "$(wc -l <"$TMP/server.out")" = 1 ]
    ! grep -v "$EMULATION" "$TMP/server.err" || return 1
    [ "$(wc -l <"$TMP/server.err")" -le 2 ]
}
# On Linux, stage 05 prints two lines more: it runs on an emulation of kqueue.
EMULATION="a kqueue emulation over epoll\|proves nothing about a BSD kernel"

@test "a port that is in use: one line, exit code 1" {
    rule "the message names the address and suggests what to try" "only perror(\"bind\")" "chapter 1"
    start_server
    server_refuses 1 "127.0.0.1 port $PORT" -p "$PORT"
    grep -q 'try\|-p 0' "$TMP/err"
    next_client_works
}

@test "a port below 1024 without root: one line, exit code 1" {
    rule "the message names the address and suggests what to try" "only perror(\"bind\")" "chapter 1"
    need_linux "for setpriv"
    need setpriv "to run the server as another user" "install util-linux"
    need_root "to change the user"
    cp "$SERVER" "$TMP/server"
    chmod 755 "$TMP" "$TMP/server"
    run setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all sh -c '
        [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 99 ] || exit 77
        exec "$0" -p 99 2>&1' "$TMP/server"
    [ "$status" != 77 ] || skip "this system lets every user bind every port; to run it: net.ipv4.ip_unprivileged_port_start=1024"
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"127.0.0.1 port 99"*"root"* ]]
    [ "${#lines[@]}" = 1 ]
}

@test "an address of another machine, or none at all: one line, exit code 1" {
    rule "the message names the address and suggests what to try" "only perror(\"bind\")" "chapter 1"
    server_refuses 1 192.0.2.1 -b 192.0.2.1 -p 0
    server_refuses 1 nonsense -b nonsense -p 0
}

@test "IPv6" {
    rule "-b ::1 works, and is printed in brackets" "sockaddr_in is used where sockaddr_storage is needed" "chapter 1"
    if ! "$SERVER" -b ::1 -p 0 -h >/dev/null || ! grep -q ' lo$' /proc/net/if_inet6 2>/dev/null; then
        [ "$(uname -s)" != Linux ] || skip "this machine does not have the address ::1; to run it: enable IPv6 on lo"
    fi
    ADDRESS=::1 start_server
    grep -qx "listening on \[::1\]:$PORT" "$TMP/server.out"
    ADDRESS=::1 next_client_works
}

@test "no IPv6 on this machine: one line, exit code 1" {
    rule "the message names the address and suggests what to try" "the result of socket() or bind() is not checked" "chapter 1"
    need_linux "for network namespaces"
    need_root "to create a network namespace"
    unshare -n true 2>/dev/null || skip "cannot create a network namespace; to run it: CAP_SYS_ADMIN"
    run unshare -n "$SERVER" -b ::1 -p 0
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"::1 port 0"*"try"* ]]
}

@test "no IPv6 in the kernel: the advice names an address that works" {
    rule "the message names the address and suggests what to try" "EAFNOSUPPORT has no advice of its own" "chapter 1"
    need_strace
    local status=0
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/trace" -e trace=socket -e inject=socket:error=EAFNOSUPPORT "$SERVER" ${VARIANT_ARGS:-} -b ::1 -p 0 >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
    cat "$TMP/out" "$TMP/err"
    [ "$status" = 1 ]
    grep -q '^server: cannot listen on ::1 port 0: .*not an address of this machine' "$TMP/err"
}

@test "a signal handler that cannot be installed: one line, exit code 1" {
    rule "a server that cannot be stopped, or that a closed connection would end, does not start" "the result of sigaction() or sigprocmask() is not checked" "chapter 1"
    need_strace
    case ${SERVER_KIND:-} in sanitized | emulated) skip "this build installs handlers of its own; to run it: an ordinary build" ;; esac
    local call status mask=1
    # musl makes a call of its own before the first handler is installed
    ! { [ "${SERVER_KIND:-}" = static ] || ldd "$SERVER" 2>/dev/null | grep -q musl; } || mask=2
    for call in rt_sigaction:when=1 rt_sigaction:when=2 rt_sigaction:when=3 rt_sigaction:when=4 rt_sigaction:when=5 rt_sigprocmask:when=$mask; do
        test_case "${call%:*} fails, number ${call#*=}"
        status=0
        # shellcheck disable=SC2086
        timeout 5 strace -f -qq -o "$TMP/trace" -e "trace=${call%:*}" -e "inject=${call%:*}:error=EINVAL:${call#*:}" "$SERVER" ${VARIANT_ARGS:-} -p 0 >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
        cat "$TMP/out" "$TMP/err" "$TMP/trace"
        [ "$status" = 1 ]
        grep -q '^server: sig[a-z]*: Invalid argument$' "$TMP/err"
    done
}

@test "a call that fails at the start: one line names its error, exit code 1" {
    rule "an error message names the error that happened" "the result of a call is not checked, so the server starts, or a later call fails with another error" "chapter 1"
    need_strace
    local calls='?pipe,?pipe2,?fcntl,?fcntl64,setsockopt,bind,listen' call status
    # In stage 06, select() and poll() ask epoll about each descriptor, and go on if there is no epoll.
    case $VARIANT in 06*) ;; *) calls="$calls,?epoll_create1,?epoll_ctl" ;; esac
    WRAP=(strace -f -qq -o "$TMP/start" -e "trace=$calls")
    start_server
    # Which calls the server makes before it listens, and the number of each.  It also asks which descriptors
    # are open (F_GETFD), and goes on if that fails.
    awk '{ sub(/^[0-9]+ +/, ""); call = $0; sub(/\(.*/, "", call); number[call]++ }
        !/F_GETFD/ { print call ":error=ENOSPC:when=" number[call] }' "$TMP/start" >"$TMP/calls"
    [ "$(wc -l <"$TMP/calls")" -ge 4 ]
    while read -r call; do
        test_case "strace -e inject=$call"
        status=0
        # shellcheck disable=SC2086
        strace -f -qq -o "$TMP/trace" -e "trace=${call%%:*}" -e "inject=$call" "$SERVER" ${VARIANT_ARGS:-} -p 0 >"$TMP/out" 2>"$TMP/err" 3>&- &
        SERVER_PID=$!
        PIDS="$SERVER_PID $PIDS" # it may start, and not stop on SIGTERM
        wait_until 5 has_exited "$SERVER_PID"
        wait "$SERVER_PID" || status=$?
        cat "$TMP/out" "$TMP/err" "$TMP/trace"
        [ "$status" = 1 ]
        [ ! -s "$TMP/out" ]
        [ "$(grep -v "$EMULATION" "$TMP/err" | grep -c .)" = 1 ]
        grep -q '^server: .*: No space left on device' "$TMP/err"
    done <"$TMP/calls"
}

@test "with stdout or stderr closed or full, the server still serves" {
    rule "the server serves even if its output cannot be written" "an error of printf() ends the server" "chapter 1"
    need_linux "for /dev/full"
    local how
    FIXED_PORT=$(free_port)
    for how in '>&-' '2>&-' '>/dev/full' '2>/dev/full'; do
        test_case "server $how"
        eval "\"\$SERVER\" -v -p $FIXED_PORT ${VARIANT_ARGS:-} >/dev/null 2>/dev/null 3>&- $how &"
        SERVER_PID=$! PORT=$FIXED_PORT
        PIDS="$SERVER_PID $PIDS"
        wait_until 5 accepts_connections
        next_client_works
        stop_server
    done
}
accepts_connections() { (exec 9<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

@test "stdout and stderr appended to one file: no line overwrites another" {
    rule "the server appends to a file as the shell has opened it" "a file is opened once more, so each description has a position of its own" "chapter 1"
    need_ours
    PORT=$(free_port)
    echo 'the line before' >"$TMP/log"
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >>"$TMP/log" 2>&1 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 accepts_connections
    client echo hello shutdown expect-eof
    stop_server
    cat "$TMP/log"
    [ "$(head -n 1 "$TMP/log")" = 'the line before' ]
    [ "$(grep -cx "listening on 127.0.0.1:$PORT" "$TMP/log")" = 1 ]
    grep -q 'recv 5' "$TMP/log"
}

@test "a server that starts with descriptors 0, 1 and 2 closed does not use these numbers for sockets" {
    rule "the server's output never reaches a client" "the next socket gets the lowest free number" "chapter 1"
    need_linux "to read /proc"
    PORT=$(free_port)
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} <&- >&- 2>&- 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 accepts_connections
    client echo "no other bytes than these" shutdown expect-eof
    local fd
    for fd in 0 1 2; do
        echo "$fd: $(readlink "/proc/$SERVER_PID/fd/$fd")"
        [ "$(readlink "/proc/$SERVER_PID/fd/$fd")" = /dev/null ]
    done
    # Only 0 is closed: the server opens one descriptor for it, and no other.
    WRAP=(bash -c 'exec "$@" <&-' -)
    start_server
    echo "$(fd_is_null | grep -c .) descriptors refer to /dev/null"
    [ "$(fd_is_null | grep -c .)" = 1 ]
}
fd_is_null() { find "/proc/$SERVER_PID/fd" -lname /dev/null; }

@test "a server that cannot open /dev/null in place of a closed descriptor does not start" {
    rule "the server's output never reaches a client" "the result of open() is ignored, so the next socket gets the lowest free number" "chapter 1"
    need_strace
    local status=0
    timeout 5 strace -f -qq -o "$TMP/trace" -P /dev/null -e trace=open,openat -e inject=open,openat:error=ENFILE "$SERVER" -p 0 ${VARIANT_ARGS:-} <&- >"$TMP/out" 2>"$TMP/err" 3>&- || status=$?
    cat "$TMP/out" "$TMP/err" "$TMP/trace"
    [ "$status" = 1 ]
    [ ! -s "$TMP/out" ]
    grep -q '^server: /dev/null: ' "$TMP/err"
}

@test "SIGINT stops a server that inherited SIGINT as ignored" {
    rule "SIGINT stops a server that a script has started in the background with &, as SIGTERM does" "the server inherits SIGINT as ignored and installs no handler" "chapter 1"
    trap '' INT
    start_server
    trap - INT
    stop_server INT
}

@test "-v logs in three columns, in at most 80 characters" {
    rule "the log has one line for each event, written at once" "a line is written in several pieces" "chapter 1"
    start_server -v
    client echo hello shutdown expect-eof
    wait_until 5 has_text "$TMP/server.err" 'end of input; close'
    cat "$TMP/server.err"
    grep -q 'fd [0-9].*accept: fd [0-9]*$\|accept  *fd [0-9].* \(thread\|serve\|coroutine\)' "$TMP/server.err"
    grep -q '5.*send 5$' "$TMP/server.err"
    [ "$(awk 'length > 80' "$TMP/server.err" | wc -l)" = 0 ]
    [ -z "$(tr -d '[:print:]\n' <"$TMP/server.err")" ]
}

@test "-v: only the first line about an event has the first two columns" {
    rule "the columns tell which event caused the line" "the columns of the line before are printed again" "chapter 1"
    case $VARIANT in 01* | 07*) skip "expected: this stage accepts one client for each event" ;; esac
    start_server -v
    kill -STOP "$SERVER_PID"
    start_client one idle 3
    client_printed one holding
    kill -CONT "$SERVER_PID"
    wait_until 5 all_three_are_logged
    cat "$TMP/server.err"
    [ "$(grep -c 'fd [0-9].*  accept: fd [0-9]*$' "$TMP/server.err")" = 1 ]
    [ "$(grep -c '^  *accept: fd [0-9]*$' "$TMP/server.err")" = 2 ]
    resume_client one
    client_succeeded one
}
all_three_are_logged() { [ "$(grep -c 'accept: fd' "$TMP/server.err")" = 3 ]; }

@test "-v: the wait reports the signal that stops the server" {
    rule "the wait reports the shutdown pipe" "the server stops as soon as the signal has interrupted its wait" "chapter 2"
    case $VARIANT in 01* | 07*) skip "expected: this stage logs no event when it stops" ;; esac
    start_server -v
    next_client_works
    stop_server TERM
    cat "$TMP/server.err"
    grep -q '^[a-z].* fd [0-9].*told to stop' "$TMP/server.err"
}

@test "SIGTERM stops a server that inherited SIGTERM as blocked" {
    rule "on SIGTERM the server stops, whatever started it" "the server inherits a signal mask that blocks SIGTERM" "chapter 1"
    need python3 "to block a signal, which bash cannot" "install python3"
    WRAP=(python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
os.execv(sys.argv[1], sys.argv[1:])')
    start_server
    next_client_works
    stop_server TERM
}

@test "with -v into a full pipe that nobody reads, the server serves and stops on SIGTERM" {
    rule "the server serves even if nobody reads its output" "a write() that waits until there is room in the pipe" "chapter 1"
    mkfifo "$TMP/pipe"
    exec 7<>"$TMP/pipe" # open, and never read
    PORT=$(free_port)
    # shellcheck disable=SC2086
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >/dev/null 2>"$TMP/pipe" 3>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 accepts_connections
    client churn 600
    next_client_works
    stop_server TERM
    exec 7>&-
}

@test "a log line that does not fit is dropped and counted" {
    rule "a line of which nothing was written is dropped; the next line that fits follows the number of dropped ones" "a line is kept and written later, among newer ones" "chapter 1"
    need_linux "for the size of a pipe"
    case $VARIANT in *kqueue*) skip "expected: the emulation writes to stderr when it starts, and a full pipe would stop it" ;; esac
    local line=''
    mkfifo "$TMP/pipe"
    exec 7<>"$TMP/pipe"
    head -c 65536 /dev/zero >&7 # all that a pipe holds
    PORT=$(free_port)
    # shellcheck disable=SC2086
    "$SERVER" -v -p "$PORT" ${VARIANT_ARGS:-} >/dev/null 2>"$TMP/pipe" 3>&- 7>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 5 accepts_connections
    start_client one echo a print here wait shutdown expect-eof
    client_printed one here
    "$PROBE" -p "$SERVER_PID" 0 asleep
    head -c 65536 <&7 >/dev/null
    resume_client one
    client_succeeded one
    read -r -t 5 line <&7
    echo "the first line after the pipe has been read: $line"
    [[ $line =~ ^server:\ [0-9]+\ log\ lines\ dropped$ ]]
    exec 7>&-
}

# log_with_faults FAULTS: print what the server logs for two clients while writes to stderr fail.
log_with_faults() {
    test_case "SHIM_FAULTS=$1"
    WRAP=(env "SHIM_FAULTS=$1" "LD_PRELOAD=$SHIM")
    start_server -v
    client echo a shutdown expect-eof
    client echo a shutdown expect-eof
    stop_server
    grep -v "$EMULATION" "$TMP/server.err"
}

@test "-v: a line that was written in part is completed before any other, and then comes the number of dropped ones" {
    rule "the log has complete lines only, and says how many are missing where they are missing" "a line is written into the middle of another, or before the number of dropped ones" "chapter 1"
    need_shim
    local first
    first=$(log_with_faults none | head -n 1)
    [ -n "$first" ]
    # Only one byte of the first line is written.  Then three calls fail: for its rest, and again for its rest before
    # each of the next two lines, which are dropped.
    log_with_faults log:short=1+0,log:eagain=2+1-4 >"$TMP/lines"
    head -n 4 "$TMP/lines"
    [ "$(sed -n 1p "$TMP/lines")" = "$first" ]
    [ "$(sed -n 2p "$TMP/lines")" = "server: 2 log lines dropped" ]
    # The first line is dropped, and the second too, because there is no room for the number.
    log_with_faults log:eagain=1+1-2 >"$TMP/lines"
    head -n 4 "$TMP/lines"
    [ "$(sed -n 1p "$TMP/lines")" = "server: 2 log lines dropped" ]
    [ "$(grep -c dropped "$TMP/lines")" = 1 ]
}

@test "write() takes nothing of the line on stdout and reports no error: the message names no other error" {
    rule "an error message names the error that happened" "errno is that of an earlier call" "chapter 1"
    need_strace
    mkfifo "$TMP/pipe"
    exec 7<>"$TMP/pipe"
    # Without stdin, an early call has left EBADF in errno.
    # shellcheck disable=SC2086
    strace -f -qq -o "$TMP/trace" -P "$TMP/pipe" -e trace=write -e inject=write:retval=0 "$SERVER" -p 0 ${VARIANT_ARGS:-} <&- >"$TMP/pipe" 2>"$TMP/server.err" 3>&- 7>&- &
    SERVER_PID=$!
    PIDS="$SERVER_PID $PIDS"
    wait_until 3 find_child
    PIDS="$CHILD $PIDS"
    wait_until 5 has_text "$TMP/server.err" 'cannot write to stdout'
    cat "$TMP/server.err"
    grep -q 'cannot write to stdout (\(Success\|No error information\)); listening on 127.0.0.1' "$TMP/server.err" # what glibc and musl call 0
    exec 7>&-
}
