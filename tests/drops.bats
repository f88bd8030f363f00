#!/usr/bin/env bats
# trace drops, the program of stage 07 that loses packets on purpose: what it says about each is
# compared with what the kernel says to others, and it leaves nothing behind.
load support/helpers
load support/tracefs

STAGE07=$TESTS/../07-nic-to-app
TRACE=$STAGE07/trace

need_program() {
    need_linux "for its tracepoints"
    make -s -C "$STAGE07" trace drops >/dev/null
}
need_drops() {
    need_program
    need_root "for namespaces and tracepoints"
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: root on a machine of your own"
    [ -d "$TRACEFS/instances" ] || skip "needs tracefs; to run it: root on a machine of your own"
    grep -q ' reason;' "$TRACEFS/events/skb/kfree_skb/format" || skip "needs reasons in skb:kfree_skb; to run it: Linux 5.17 or later"
    [ -c /dev/net/tun ] || skip "needs /dev/net/tun; to run it: modprobe tun"
}
fits_80_columns() { [ -z "$(LC_ALL=C tr -d '\200-\277' <"$1" | awk 'length > 80')" ]; }
# value KIND LABEL: what the details of a kind say, in one line.
value() {
    awk -v kind="$1" -v label="$2" '/^[a-zA-Z]/ { this = $1 } /^$/ { name = "" } /^  [a-z]/ { name = substr($0, 3, 11); sub(/ +$/, "", name) }
        this == kind && name == label { text = text (text == "" ? "" : " ") substr($0, 15) } END { print text }' "$TMP/out"
}
# row KIND: its line of the table.
row() { awk -v kind="$1" '$1 == kind && NF > 1' "$TMP/out"; }
kinds() { "$TRACE" drops -h | sed -n 's/^  \([a-z-]*\)  *[a-z].*/\1/p' | grep -v '^trace$'; }
# lose KIND...: run trace drops, and keep its process number.
lose() { bash -c 'echo $$ >>"$0/pids"; exec "$@"' "$TMP" "$TRACE" drops "$@"; }
# Others may trace at the same time, so only the instances of our processes count.
instances() { while read -r pid; do find "$TRACEFS/instances" -mindepth 1 -maxdepth 1 -name "echo-trace-$pid-*"; done <"$TMP/pids"; }
no_instance() { [ -z "$(instances)" ]; }
has_instance() { ! no_instance; }
# namespaces_of PID: the network namespaces that the process is in or holds.  With them its devices end.
namespaces_of() { { readlink "/proc/$1/ns/net"; find "/proc/$1/fd" -lname 'net:*' -printf '%l\n'; } | sort -u; }
all_namespaces() { find /proc/[0-9]*/ns/net /proc/[0-9]*/fd -lname 'net:*' -printf '%l\n' 2>/dev/null | sort -u; }

@test "every kind is dropped, and the kernel says the same to another reader of its events" {
    need_drops
    local kind reason function count=0
    mkdir "$WITNESS"
    echo 'comm == "drops"' >"$WITNESS/events/skb/kfree_skb/filter"
    echo 1 >"$WITNESS/events/skb/kfree_skb/enable"
    "$TRACE" drops -v >"$TMP/out"
    cat "$WITNESS/trace" >"$TMP/witness"
    cat "$TMP/out"
    fits_80_columns "$TMP/out"
    [ -z "$(grep ' $' "$TMP/out")" ]
    for kind in $(kinds); do
        [[ $(row "$kind") != *' not tried: nft '* ]] || continue
        reason=$(value "$kind" reason) function=$(value "$kind" 'dropped by')
        echo "$kind: $reason in $function"
        [ -n "$reason" ]
        [[ $(row "$kind") == "$kind "*" $reason "* ]]
        count=$((count + 1))
        [ "$kind $reason" != 'accept-queue none (consume_skb)' ] || continue
        grep -q "\"$reason\"" "$TRACEFS/events/skb/kfree_skb/format"
        if grep -q 'location=[a-z]' "$TMP/witness"; then # older kernels print an address
            grep -q " location=$function+.* reason: $reason\$" "$TMP/witness"
        else
            grep -q " reason: $reason\$" "$TMP/witness"
            grep -q " $function\$" /proc/kallsyms
        fi
    done
    [ "$count" -ge 12 ]
}

@test "the counters are those that nstat, ip and ss show in the server's namespace" {
    need_drops
    need nstat "to read the counters" "install iproute2"
    need nft "to have a kind that takes a second" "install nftables"
    local pid name
    "$STAGE07/drops" >"$TMP/out" 3>&- &
    pid=$!
    PIDS=$pid
    wait_until 10 grep -q '^wrong-address ' "$TMP/out"
    nsenter -t $pid -n nstat -asz >"$TMP/nstat"
    nsenter -t $pid -n ip -s -s link >"$TMP/link"
    [ "$(nsenter -t $pid -n cat /proc/sys/net/ipv4/ip_forward)" = 0 ] # whatever the host's is; with 1, wrong-address has another reason
    wait_until 10 grep -q '^socket-filter ' "$TMP/out"
    wait $pid
    cat "$TMP/out" "$TMP/link"
    count() { awk -v name="$1" '$1 == name { print $2 }' "$TMP/nstat"; }
    for name in $(awk '$NF ~ /^(Tcp|Udp|Ip)[A-Z]/ && $1 != "reset" { print $NF }' "$TMP/out"); do
        echo "$name: $(count "$name")"
        [ "$(count "$name")" -ge 1 ]
    done
    # Of these there was one packet, and nothing else was in the namespace.
    for name in TcpInCsumErrors IpInAddrErrors TcpExtTCPDSACKOldSent; do
        grep -q " $name\$" "$TMP/out"
        [ "$(count $name)" = 1 ]
    done
    grep -q '^wrong-mac .* rx_otherhost_dropped$' "$TMP/out"
    if grep -q otherhost "$TMP/link"; then # an ip that knows Linux 5.19
        [ "$(awk '/otherhost/ { for (i = 1; i <= NF; i++) if ($i == "otherhost") at = i - 2; getline; print $at; exit }' "$TMP/link")" = 1 ]
    fi
}

@test "what client and server notice is what a client and a server notice" {
    need_drops
    "$TRACE" drops no-listener accept-queue bad-checksum udp-buffer reset >"$TMP/out"
    cat "$TMP/out"
    [[ $(value no-listener client) == 'connect() failed: ECONNREFUSED. An RST came back after '* ]]
    # The first retransmission of a SYN comes after a second, of data after at least 200 ms.
    [[ $(value accept-queue client) =~ ^'connect() is still waiting after '[0-9]+' ms. No answer came. The client'"'"'s kernel sent the packet again after '([0-9]+)' ms.'$ ]]
    [ "${BASH_REMATCH[1]}" -ge 950 ]
    [[ $(value accept-queue server) == 'accept() returns 1 connection, but not this one.' ]]
    [[ $(value bad-checksum client) =~ ^'send() returned 15. No answer came. The client'"'"'s kernel sent the packet again after '([0-9]+)' ms.'$ ]]
    [ "${BASH_REMATCH[1]}" -ge 190 ]
    [[ $(value bad-checksum server) == 'recv() finds 15 bytes, from the second transmission.' ]]
    [[ $(value udp-buffer client) == 'send() returned 15. No answer came.' ]]
    [[ $(value reset client) == 'send() returned 15. The next call failed: ECONNRESET. An RST came back after '* ]]
}

@test "what others lose at the same time is not counted" {
    need_drops
    need ip "to set lo up" "install iproute2"
    local i pid
    # Datagrams to a port on which nobody listens, as fast as possible, so that some are lost while a
    # frame of drops is on its way.
    printf '%s\n' '#include <arpa/inet.h>' '#include <sys/socket.h>' '#include <unistd.h>' 'int main(void) {' \
        'struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7001), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};' \
        'int fd = socket(AF_INET, SOCK_DGRAM, 0); alarm(60); for (;;) sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to); }' >"$TMP/noise.c"
    cc -w -o "$TMP/noise" "$TMP/noise.c"
    for i in 1 2; do
        unshare -n sh -c 'ip link set lo up; echo up >"$1"; exec "$0"' "$TMP/noise" "$TMP/up$i" 3>&- &
        PIDS="$! $PIDS"
        wait_until 10 test -s "$TMP/up$i"
    done
    "$STAGE07/drops" bad-checksum no-listener >"$TMP/other" 3>&- &
    pid=$!
    PIDS="$pid $PIDS"
    for i in 1 2 3 4 5; do
        "$TRACE" drops no-listener bad-checksum old-sequence >"$TMP/out"
        cat "$TMP/out"
        [ "$(value no-listener reason)" = NO_SOCKET ]
        [ "$(value no-listener counters)" = 'TcpOutRsts +1' ]
        [ "$(value bad-checksum reason)" = TCP_CSUM ]
        [ "$(value bad-checksum counters)" = 'TcpInErrs +1, TcpInCsumErrors +1' ]
        [ "$(value old-sequence reason)" = TCP_OLD_DATA ]
    done
    wait $pid
    grep -q 'TCP_CSUM' "$TMP/other"
}

@test "nothing is left behind: after the end, SIGINT, SIGTERM, and SIGKILL and the next run" {
    need_drops
    local signal pid code space
    lose no-listener >"$TMP/out"
    no_instance
    for signal in INT TERM HUP KILL; do
        rm -f "$TMP/out"
        "$TRACE" drops -v >"$TMP/out" 2>"$TMP/why" 3>&- &
        pid=$!
        PIDS="$pid $PIDS"
        echo $pid >>"$TMP/pids"
        wait_until 10 grep -qs '^accept-queue' "$TMP/out"
        has_instance
        space=$(namespaces_of $pid)
        [ "$(echo "$space" | wc -l)" = 2 ]
        kill "-$signal" $pid
        code=0
        wait $pid || code=$?
        echo "SIG$signal: exit code $code"
        if [ $signal = KILL ]; then
            has_instance
            lose no-listener >"$TMP/out"
        else
            [ $code = 130 ]
            [ "$(cat "$TMP/why")" = 'trace drops: stopped; nothing is left behind' ]
        fi
        no_instance
        [ -z "$(all_namespaces | grep -xF "$space")" ]
    done
    [ -z "$(ls -d /sys/class/net/drops* /sys/class/net/client0 2>/dev/null)" ]
}

@test "a drop that does not happen is not claimed: not seen, exit code 1" {
    need_drops
    # A library in front of libc, with which no filter is attached to a socket.
    printf '%s\n' '#define _GNU_SOURCE' '#include <dlfcn.h>' '#include <sys/socket.h>' \
        'int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {' \
        'int (*real)(int, int, int, const void *, socklen_t) = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");' \
        'return name == SO_ATTACH_FILTER ? 0 : real(fd, level, name, value, size); }' >"$TMP/shim.c"
    cc -shared -fPIC -o "$TMP/shim.so" "$TMP/shim.c" -ldl
    local code=0
    LD_PRELOAD=$TMP/shim.so "$STAGE07/drops" no-listener socket-filter >"$TMP/out" 2>"$TMP/why" || code=$?
    cat "$TMP/out" "$TMP/why"
    [ $code = 1 ]
    [ "$(value no-listener reason)" = NO_SOCKET ]
    [ "$(value socket-filter reason)" = 'not seen' ]
    [ "$(cat "$TMP/why")" = 'trace drops: 1 of these drops was not seen' ]
}

@test "without nft: what would install it; only who asked for that kind gets exit code 1" {
    need_drops
    local code=0
    without_nft() { unshare -m sh -c 'for folder in /usr/sbin /sbin /usr/local/sbin; do [ ! -e $folder/nft ] || mount -t tmpfs none $folder; done; exec "$@"' - "$@"; }
    ! without_nft sh -c 'command -v nft' || skip "nft is in an unusual folder; to run it: /usr/sbin/nft"
    without_nft "$TRACE" drops filter-rule >"$TMP/out" || code=$?
    cat "$TMP/out"
    [ $code = 1 ]
    [ "$(value filter-rule 'not tried')" = 'nft is not installed (Debian: nftables)' ]
    without_nft "$TRACE" drops >"$TMP/out"
    cat "$TMP/out"
    grep -qx 'filter-rule       not tried: nft is not installed (Debian: nftables)' "$TMP/out"
    fits_80_columns "$TMP/out"
}

@test "where it cannot run, one line says why: without root, in a PID namespace, without /dev/net/tun" {
    need_program
    local code=0
    if [ "$(id -u)" = 0 ]; then
        need setpriv "to run as nobody" "install util-linux"
        cp "$TRACE" "$STAGE07/drops" "$TMP"
        chmod 755 "$TMP" "$TMP/trace" "$TMP/drops"
        setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$TMP/trace" drops >"$TMP/out" 2>"$TMP/why" || code=$?
    else
        "$TRACE" drops >"$TMP/out" 2>"$TMP/why" || code=$?
    fi
    cat "$TMP/why"
    [ $code = 1 ]
    [ ! -s "$TMP/out" ]
    grep -qx "trace drops: The kernel's tracepoints are for root, and you are not root." "$TMP/why"
    need_drops
    mkdir "$TRACEFS/instances/echo-trace-99999-0" # another's, whose number nobody has in there
    code=0
    unshare -p -f --mount-proc "$TRACE" drops no-listener >"$TMP/out" 2>"$TMP/why" || code=$?
    rmdir "$TRACEFS/instances/echo-trace-99999-0"
    [ $code = 1 ]
    grep -q '^trace drops: This is a PID namespace' "$TMP/why"
    code=0
    unshare -m sh -c 'mount -t tmpfs none /dev/net && echo $$ >"$1" && exec "$0" drops' "$TRACE" "$TMP/pids" >"$TMP/out" 2>"$TMP/why" || code=$?
    cat "$TMP/why"
    [ $code = 1 ]
    grep -qx 'trace drops: The network for it cannot be made: there is no /dev/net/tun (as root: modprobe tun).' "$TMP/why"
    no_instance
}

@test "bad arguments, a full disk, a reader that goes away, and a program that is missing" {
    need_program
    local words code=0
    for words in nonsense '-v reset' --nonsense 'reset -v'; do
        # shellcheck disable=SC2086
        run "$TRACE" drops $words
        echo "$words: $output"
        [ "$status" = 2 ]
        [[ ${lines[0]} == 'trace drops: "'*'": there is no such '* ]]
        [[ $output == *'usage: trace drops'* ]]
    done
    "$TRACE" drops -h >"$TMP/out"
    fits_80_columns "$TMP/out"
    [ "$(kinds | wc -l)" -ge 9 ]
    cp "$TRACE" "$TMP/trace"
    mkdir "$TMP/path"
    printf '#!/bin/sh\necho the wrong one\n' >"$TMP/path/drops"
    chmod 755 "$TMP/path/drops"
    PATH=$TMP/path:$PATH "$TMP/trace" drops >"$TMP/out" 2>&1 || code=$?
    cat "$TMP/out"
    [ $code = 1 ]
    grep -q '^trace: .*/drops: No such file or directory' "$TMP/out"
    need_drops
    code=0
    lose no-listener >/dev/full 2>"$TMP/why" || code=$?
    [ $code = 1 ]
    [ "$(cat "$TMP/why")" = 'trace drops: standard output: No space left on device' ]
    code=0
    { lose -v 2>"$TMP/why" || echo $? >"$TMP/code"; } | head -n 1 >/dev/null
    [ ! -s "$TMP/why" ]
    [ ! -e "$TMP/code" ]
    no_instance
}
