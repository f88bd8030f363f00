#!/usr/bin/env bats
# nic and cost, the two small programs of stage 07: their output, and that they leave nothing behind.
TESTS=${TESTS:-$(cd "$BATS_TEST_DIRNAME" && pwd)}
STAGE07=$(cd "$TESTS/../07-nic-to-app" && pwd)
NIC=$STAGE07/nic COST=$STAGE07/cost

setup() {
    set +T # bats traces no command inside functions
    TMP='' PIDS='' # teardown must not use values from the environment
    [ "$(uname -s)" = Linux ] || skip "needs Linux (/proc and /sys); to run it: a Linux machine"
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/echo-tests.XXXXXX")
    mkfifo "$TMP/never"
    make -s -C "$STAGE07" nic cost server >/dev/null
}
teardown() {
    local pid
    [ -n "$TMP" ] || return 0
    for pid in $PIDS $(running); do kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$TMP"
}
need() { command -v "$1" >/dev/null 2>&1 || skip "needs $1 ($2); to run it: install $3"; }
# Some awks count bytes, so leave one byte of each UTF-8 character.
fits_80_columns() { [ -z "$(LC_ALL=C tr -d '\200-\277' <"$1" | awk 'length > 80')" ]; }
wait_until() {
    local i
    for ((i = 0; i < 250; i++)); do
        ! "$@" || return 0
        read -r -t 0.02 <>"$TMP/never" || :
    done
    echo "timed out while waiting for: $*"
    return 1
}
# Processes whose program is in $TMP: cost itself, the process that holds its clients, and its server.
running() { ps -A -o pid= -o args= | awk -v path="$TMP/" '!/awk/ && index($0, path) { print $1 }'; }
none_left() { [ -z "$(running)" ]; }
three_run() { [ "$(running | wc -l)" -ge 3 ]; }
as_nobody() { # COMMAND...: run it as an unprivileged user
    if [ "$(id -u)" != 0 ]; then "$@"; return; fi
    need setpriv "to run as nobody" util-linux
    setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"
}

@test "nic lo: every line fits 80 columns, and a card's features are not on this device" {
    [ -d /sys/class/net ] || skip "needs /sys; to run it: mount -t sysfs sysfs /sys"
    "$NIC" lo >"$TMP/out"
    cat "$TMP/out"
    fits_80_columns "$TMP/out"
    [ -z "$(grep ' $' "$TMP/out")" ]
    grep -q '^lo: ' "$TMP/out"
    grep -q '^  RSS table  *not on this device  *128 entries$' "$TMP/out"
    grep -q '^  receive ring  *not on this device  *512 (up to 4096 or 8192)$' "$TMP/out"
    local what
    for what in speed 'receive queues' 'RSS table' 'receive ring' 'interrupt delay' 'hardware timestamps' \
        'device interrupts' 'checksum, receive' 'checksum, send' scatter-gather TSO GSO GRO LRO RPS RFS XPS \
        'backlog weight' 'NAPI budget' backlog 'busy polling' 'softirq: dropped' 'softirq: squeezed'; do
        # Each has a value, the card's value, and an explanation on the next line.
        grep -A 1 "^  $what  *[^ ]" "$TMP/out" | grep -q '^    [A-Z].*\.$' || { echo "missing: $what"; return 1; }
    done
}

@test "nic prints the values of /proc and /sys" {
    "$NIC" lo >"$TMP/out"
    # Containers and other network namespaces do not have these sysctls.
    if [ -r /proc/sys/net/core/netdev_budget ]; then
        grep -q "^  backlog weight  *$(cat /proc/sys/net/core/dev_weight) " "$TMP/out"
        grep -q "^  NAPI budget  *$(cat /proc/sys/net/core/netdev_budget) packets, $(cat /proc/sys/net/core/netdev_budget_usecs) µs" "$TMP/out"
        grep -q "^  backlog  *$(cat /proc/sys/net/core/netdev_max_backlog) " "$TMP/out"
    fi
    local sum=0 word
    while read -r _ word _; do sum=$((sum + 16#$word)); done </proc/net/softnet_stat
    local said
    said=$(sed -n 's/^  softirq: dropped  *\([0-9]*\) packets$/\1/p' "$TMP/out")
    echo "dropped: nic printed $said, the kernel has $sum now"
    [ "$said" -le "$sum" ]
    [ $((sum - said)) -lt 10000 ]
}

@test "nic prints the same for every device as root and as nobody" {
    local device
    cp "$NIC" "$TMP/nic"
    chmod 755 "$TMP" "$TMP/nic"
    for device in /sys/class/net/*/; do
        device=${device%/}
        device=${device##*/}
        "$NIC" "$device" | sed '/^Since boot/,$d; /device interrupts/,/^$/d; /frames lost/,/^$/d' >"$TMP/root"
        as_nobody "$TMP/nic" "$device" | sed '/^Since boot/,$d; /device interrupts/,/^$/d; /frames lost/,/^$/d' >"$TMP/nobody"
        "$NIC" drops "$device" | without_values >>"$TMP/root"
        as_nobody "$TMP/nic" drops "$device" | without_values >>"$TMP/nobody"
        [ -d "/sys/class/net/$device" ] || continue # another test has removed it meanwhile
        diff "$TMP/root" "$TMP/nobody"
        fits_80_columns "$TMP/root"
    done
}

without_values() { sed '/^  Of its counters/d; s/^\(  [A-Za-z_]* \) *[0-9]*$/\1/'; }

@test "nic names the source of each value, and the source exists" {
    local device file directory
    for device in lo $("$NIC" | sed -n '1s/:.*//p'); do
        "$NIC" "$device" >"$TMP/out"
        # A value, its purpose, its source.
        awk '/^  [^ ]/ && !/HERE|Intel/ { label = $0; at = NR } NR == at + 2 && at { if (!/^    (\/|ethtool -)/) print "no source: " label }' "$TMP/out" | { ! grep .; }
        while read -r file; do
            directory=${file%/*}
            file=${file#*/net/core/rps_sock_flow_entries, }
            [[ $file == /* ]] || directory=/sys/class/net/$device/ # a second file, in the device's directory
            compgen -G "${file%%,*}" >/dev/null || compgen -G "$directory$file" >/dev/null || echo "no such file: $file"
        done < <(sed -n 's|^    \(/[^:]*\).*|\1|p' "$TMP/out" | sed 's/, column.*//; s|/PROCESS/|/self/|; s|/irq/N/|/irq/[0-9]*/|') >"$TMP/missing"
        # What a device without a card or with one queue does not have.
        [ ! -d /sys/class/net ] || { ! grep -v -e /speed -e /xps_cpus -e /rps_ -e /threaded -e napi_defer "$TMP/missing" || return 1; }
    done
}

@test "nic lists the CPUs of each interrupt of the device, and the threads that serve them" {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root, to replace /proc/interrupts; to run it: sudo make test"
    local file number thread
    for file in /proc/irq/[0-9]*/smp_affinity_list; do # an interrupt of this machine, which is made one of lo
        number=${file#/proc/irq/}
        number=${number%/*}
        ps -e -o comm= | grep -q "^irq/$number-" || break
    done
    [ ! -r "${file%/*}/effective_affinity_list" ] || [ -z "$(cat "${file%/*}/effective_affinity_list")" ] || file=${file%/*}/effective_affinity_list
    printf '           CPU0\n %s:          7  IO-APIC   1-edge      lo\n' "$number" >"$TMP/interrupts"
    # A process with the name that the kernel gives to such a thread; and one for another interrupt.
    for thread in "irq/$number-lo" "irq/${number}7-lo"; do
        : >"$TMP/named"
        bash -c 'echo "$1" >/proc/$$/comm; echo named; read -r _' - "$thread" <>"$TMP/never" >"$TMP/named" 3>&- &
        PIDS="$! $PIDS"
        wait_until grep -q named "$TMP/named"
    done
    unshare -m sh -c 'mount --bind "$1" /proc/interrupts && exec "$0" lo' "$NIC" "$TMP/interrupts" >"$TMP/out"
    grep -A 4 '^  interrupt' "$TMP/out"
    grep -A 3 '^  interrupt CPUs  *1 vector ' "$TMP/out" | grep -qx "    irq $number: cpu $(cat "$file")"
    if [ "$(cat /proc/2/comm)" = kthreadd ]; then
        grep -A 3 '^  interrupt threads  *1 ' "$TMP/out" | grep -qx "    process [0-9]*: irq/$number-lo"
    else # in a container
        grep -q '^  interrupt threads  *not visible here' "$TMP/out"
    fi
}

# dropped NAME: the value that nic printed.
dropped() { awk -v name="$1" '$1 == name { print $2 }' "$TMP/out"; }

@test "nic drops: each counter has a value and a meaning, and the values are those of the kernel" {
    "$NIC" drops lo >"$TMP/out"
    cat "$TMP/out"
    fits_80_columns "$TMP/out"
    awk '/^  [A-Za-z_]+  +/ { n++; name = $1; at = NR } NR == at + 1 && at { if (!/^    .*\.$/) { print "no meaning: " name; bad = 1 } }
        END { exit bad || n < 50 }' "$TMP/out"
    ! grep 'not here' "$TMP/out" | grep -v -e invalid -e drop -e insert_failed || return 1 # what a kernel without conntrack has not
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: CAP_SYS_ADMIN"
    need ip "to set lo up" iproute2
    local sum=0 now=0 word
    while read -r _ word _; do sum=$((sum + 16#$word)); done </proc/net/softnet_stat
    "$NIC" drops lo >"$TMP/out"
    while read -r _ word _; do now=$((now + 16#$word)); done </proc/net/softnet_stat
    [ "$(dropped dropped)" -ge $sum ]
    [ "$(dropped dropped)" -le $now ]
    # In a new network namespace each counter is 0.  One connection is refused, and one has no route.
    unshare -n bash -c 'ip link set lo up; : 2>/dev/null </dev/tcp/127.0.0.1/9; : 2>/dev/null </dev/tcp/192.0.2.1/9; exec "$0" drops lo' "$NIC" >"$TMP/out"
    [ "$(dropped TcpOutRsts)" = 1 ]
    [ "$(dropped IpOutNoRoutes)" = 1 ]
    [ "$(dropped TcpExtListenOverflows)" = 0 ]
}

@test "nic drops: the accept queue, a wrong checksum and another machine's address are in the right counters" {
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: CAP_SYS_ADMIN"
    need ip "to make two devices" iproute2
    need python3 "to send frames" python3
    unshare -n python3 "$TESTS/programs/drops.py" "$NIC" >"$TMP/out"
    cat "$TMP/out"
    [ "$(dropped TcpExtListenOverflows)" -ge 1 ]
    [ "$(dropped TcpExtListenDrops)" -ge 1 ]
    [ "$(dropped TcpInCsumErrors)" = 1 ]
    [ "$(dropped TcpInErrs)" = 1 ]
    [ "$(dropped IpInHdrErrors)" = 1 ]
    [ "$(dropped IpInAddrErrors)" = 1 ]
    [ "$(dropped IpInUnknownProtos)" = 1 ]
    [ "$(dropped TcpExtTCPDSACKOldSent)" = 1 ]
}

@test "nic agrees with ethtool" {
    need ethtool "to compare with" ethtool
    local device said
    device=$("$NIC" | sed -n '1s/:.*//p')
    said=$(ethtool -k "$device" | sed -n 's/^tcp-segmentation-offload: \([a-z]*\).*/\1/p')
    "$NIC" | grep -q "^  TSO  *$said "
    said=$(ethtool -k "$device" | sed -n 's/^generic-receive-offload: \([a-z]*\).*/\1/p')
    "$NIC" | grep -q "^  GRO  *$said "
}

@test "nic without an argument uses the default route's device, or lo if there is no other" {
    local device
    device=$(awk '$2 == "00000000" && $8 == "00000000" { print $1; exit }' /proc/net/route)
    [ -z "$device" ] || [ "$("$NIC" | sed -n '1s/:.*//p')" = "$device" ]
    unshare -n true 2>/dev/null || skip "needs network namespaces; to run it: CAP_SYS_ADMIN"
    [ "$(unshare -n "$NIC" | sed -n '1s/:.*//p')" = lo ]
    # A default route without a device does not count: the kernel prints "*" as its device.
    need ip "to make such a route" iproute2
    unshare -n sh -c 'ip route add unreachable default && cat /proc/net/route && exec "$0"' "$NIC" >"$TMP/out"
    head -n 3 "$TMP/out"
    grep -q '^\*' "$TMP/out"
    grep -q '^lo: ' "$TMP/out"
}

@test "nic without /sys says which values it cannot read" {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root, to unmount /sys; to run it: sudo make test"
    unshare -m sh -c 'umount -l /sys && exec "$0" lo' "$NIC" >"$TMP/out"
    cat "$TMP/out"
    grep -q '^lo: without /sys, nic cannot tell' "$TMP/out"
    grep -q '^  RPS  *not readable ' "$TMP/out"
    ! grep -q 'not on this device' "$TMP/out"
}

@test "nic counts an interrupt if its name contains the device's name as a whole word" {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root, to replace /proc/interrupts; to run it: sudo make test"
    local name count=1
    echo '           CPU0       CPU1' >"$TMP/interrupts"
    for name in floppy lo10-rx-0 veth-lo0 'i8042, lo' lo-rx-0 lo; do
        echo " $count:       $count          0  IO-APIC   $count-edge      $name"
        count=$((count * 10))
    done >>"$TMP/interrupts"
    cat "$TMP/interrupts"
    said() { unshare -m sh -c 'mount --bind "$1" /proc/interrupts && exec "$0" lo' "$NIC" "$1" | sed -n 's/^  device interrupts  *//p'; }
    said "$TMP/interrupts"
    [[ $(said "$TMP/interrupts") == '111000 (all vectors) '* ]]
    head -n 4 "$TMP/interrupts" >"$TMP/of-others"
    [[ $(said "$TMP/of-others") == 'not on this device '* ]]
}

@test "nic with a full disk: one line on stderr, exit code 1" {
    [ -w /dev/full ] || skip "needs /dev/full; to run it: a Linux machine"
    local code=0
    "$NIC" lo >/dev/full 2>"$TMP/why" || code=$?
    cat "$TMP/why"
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/why")" = 1 ]
    grep -q '^nic: standard output: No space left on device$' "$TMP/why"
}

@test "nic with an unknown device or too many arguments" {
    run "$NIC" nonsense0
    [ "$status" = 1 ]
    [[ $output == *'no network device "nonsense0"'* ]]
    [ "${#lines[@]}" = 1 ]
    run "$NIC" a b
    [ "$status" = 2 ]
    run "$NIC" a-name-that-is-longer-than-any-device-has
    [ "$status" = 1 ]
    [[ $output == *a-name-that-is-longer-than-any-device-has* ]]
    "$NIC" -h | grep -q '^usage: nic'
}

@test "cost: a coroutine costs the pages of its stack, a client of 04 none, and a thread more" {
    "$COST" 400 >"$TMP/07"
    cat "$TMP/07"
    grep -q 'a stack (64 KiB' "$TMP/07"
    local page stack
    page=$(getconf PAGESIZE)
    stack=$(sed -n 's/.*a stack (64 KiB of address space) *\([0-9]*\).*/\1/p' "$TMP/07")
    [ "$stack" -ge $((page * 9 / 10)) ]
    [ "$stack" -le $((page * 2)) ]
    fits_80_columns "$TMP/07"
    [ -z "$(grep ' $' "$TMP/07")" ]
    if [ -x "$TESTS/../04-epoll/server" ]; then
        "$COST" 400 -- "$TESTS/../04-epoll/server" -p '{port}' >"$TMP/04"
        cat "$TMP/04"
        ! grep -q 'a stack (' "$TMP/04" || return 1
        [ "$(sed -n 's/.*heap and tables *\([0-9]*\).*/\1/p' "$TMP/04")" -le 200 ]
        grep -q '^A client costs the server almost nothing' "$TMP/04"
    fi
    if [ -x "$TESTS/../01-blocking/server" ]; then
        "$COST" 400 -- "$TESTS/../01-blocking/server" -p '{port}' >"$TMP/01"
        cat "$TMP/01"
        [ "$(sed -n 's/.*a stack ([0-9]* KiB of address space) *\([0-9]*\).*/\1/p' "$TMP/01")" -ge "$page" ]
        [ "$(sed -n "s/.*the thread's kernel stack *\([0-9]*\).*/\1/p" "$TMP/01")" -ge 4096 ]
        grep -q '^Each client has a thread' "$TMP/01"
    fi
}

@test "cost: a queued message is charged to the socket; an idle socket costs no buffer" {
    "$COST" 100 >"$TMP/out"
    [ "$(sed -n 's/^ *empty *\([0-9]*\) .*/\1/p' "$TMP/out")" = 0 ]
    [ "$(sed -n 's/^ *with one message of 64 bytes *\([0-9]*\)$/\1/p' "$TMP/out")" -gt 64 ]
}

@test "cost as root: the server's end of a connection has one TCP socket, not two" {
    [ -r /proc/slabinfo ] || skip "only root may read /proc/slabinfo; to run it: sudo make test"
    [ "$(ulimit -Hn)" -ge 4300 ] || skip "needs 4300 descriptors; to run it: ulimit -Hn 4300"
    local size said i
    for i in 1 2 3 4 5; do # the counts are for the whole machine, and other tests may open sockets
        "$COST" 2000 >"$TMP/out"
        grep -q 'Unreliable: other programs' "$TMP/out" || break
    done
    cat "$TMP/out"
    ! grep -q 'Unreliable: other programs' "$TMP/out" || skip "other programs open sockets meanwhile; to run it: an idle machine"
    size=$(awk '$1 == "TCP" { print $4 }' /proc/slabinfo)
    said=$(awk '$1 == "TCP" { print $4 }' "$TMP/out")
    [ "$said" -ge $((size * 9 / 10)) ]
    [ "$said" -le $((size * 11 / 10)) ]
}

@test "cost as nobody says which figures it cannot read" {
    cp "$COST" "$STAGE07/server" "$TMP"
    chmod 755 "$TMP" "$TMP/cost" "$TMP/server" # whatever the umask is
    as_nobody "$TMP/cost" 100 >"$TMP/out"
    grep -q 'no details: only root may read /proc/slabinfo' "$TMP/out"
    grep -q 'all slab objects of both ends  *[0-9-]*  */proc/meminfo' "$TMP/out"
    grep -q "total, without the kernel's" "$TMP/out"
    ! grep -q eventpoll "$TMP/out"
}

@test "cost: if a server answers too few clients, the message suggests a smaller number" {
    [ -x "$TESTS/../01-blocking/server" ] || skip "needs stage 01; to run it: make 01"
    run "$COST" 3 -- "$TESTS/../01-blocking/server" -1 -p '{port}'
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"answered 1 of 3 clients; try cost 1"* ]]
}

@test "cost: a bad command line, or a command that is not a server" {
    local words
    for words in 0 -1 x 20001 '5 6' '5 --' '5 -- server' '--'; do
        # shellcheck disable=SC2086
        run "$COST" $words
        echo "$words: $output"
        [ "$status" = 2 ]
        [[ $output == *'usage: cost'* ]]
    done
    run "$COST" 5 -- false '{port}'
    [ "$status" = 1 ]
    [[ $output == *'false ended without listening'* ]]
    run "$COST" 5 -- "$TMP/no-such-program" '{port}'
    [ "$status" = 1 ]
    [[ $output == *'no-such-program: No such file or directory'* ]]
}

@test "cost, found through PATH, starts the server in its own directory, not in the current one" {
    printf '#!/bin/sh\necho "the wrong one ran" >"%s/ran"\nexec "%s" "$@"\n' "$TMP" "$STAGE07/server" >"$TMP/server"
    chmod 755 "$TMP/server"
    (cd "$TMP" && PATH=$STAGE07:$PATH cost 20) >"$TMP/out"
    head -n 1 "$TMP/out"
    [ ! -e "$TMP/ran" ] || { cat "$TMP/ran"; return 1; }
    grep -q "^20 connections to ${STAGE07##*/}/server," "$TMP/out"
}

@test "cost: if another process serves the clients, the message says what to do" {
    local n
    cp "$STAGE07/server" "$TMP"
    for n in 1 300; do
        run "$COST" $n -- sh -c 'true; "$0" -p {port}; true' "$TMP/server"
        echo "$output"
        [ "$status" = 1 ]
        [ "${#lines[@]}" = 1 ]
        [[ $output == 'cost: the clients are not connected to sh'*'put exec before the server' ]]
        wait_until none_left
    done
    "$COST" 300 -- sh -c 'true; exec "$0" -p {port}' "$TMP/server" | grep -q 'a stack (64 KiB'
}

@test "cost leaves no process behind after success, SIGINT, SIGTERM and SIGKILL" {
    local signal pid code
    cp "$COST" "$STAGE07/server" "$TMP"
    "$TMP/cost" 50 >/dev/null
    none_left
    # A shell that exits and leaves a server in its process group.
    code=0
    "$TMP/cost" 5 -- sh -c '"$0" -p {port} &' "$TMP/server" >/dev/null 2>&1 3>&- || code=$?
    [ $code = 1 ]
    wait_until none_left
    # A command that never listens: cost waits for it.
    printf '#!/bin/sh\nwhile :; do sleep 1; done\n' >"$TMP/never-listens"
    chmod 755 "$TMP/never-listens"
    for signal in INT TERM KILL; do
        "$TMP/cost" 5 -- "$TMP/never-listens" '{port}' >/dev/null 2>&1 3>&- &
        pid=$!
        PIDS="$pid $PIDS"
        wait_until three_run
        kill "-$signal" "$pid"
        code=0
        wait "$pid" || code=$?
        echo "SIG$signal: exit code $code"
        [ "$code" -gt 128 ]
        wait_until none_left
    done
}
