#!/usr/bin/env bats
# The tracer in a virtual machine with the distribution's kernel and an emulated network card, so that
# journeys begin with the card's interrupt.  The tests check which hops there are and in which order.  They check no
# times, because the machine is emulated without KVM.
load support/helpers

STAGE_07=$TESTS/../07-nic-to-app

need_vm() {
    [ -n "${LONG:-}" ] || skip "takes minutes, because it boots a virtual machine; to run it: LONG=1 make test"
    need qemu-system-x86_64 "to emulate a machine" "apt-get install qemu-system-x86"
    need apt-get "to download a kernel" "Debian or Ubuntu"
    need cpio "to make an initramfs" "apt-get install cpio"
    apt-cache show linux-image-amd64 >/dev/null 2>&1 || skip "apt does not find linux-image-amd64; to run it: Debian, after apt-get update"
}
# record_journeys CARD: boot the machine with this card, and record 8 packets in $TMP/CARD.  Fails unless
# at least 6 journeys are complete, no event is lost, and the interrupt comes before the copy to the program.
record_journeys() {
    need_vm
    "$STAGE_07/vm/run" "$1" "$TMP/$1"
    NO_COLOR=1 "$STAGE_07/trace" replay "$TMP/$1" >"$TMP/journeys"
    cat "$TMP/journeys"
    [ "$(sed -n 's/.*journeys: \([0-9]*\) complete.*/\1/p' "$TMP/journeys")" -ge 6 ]
    grep -q ' 0 events lost' "$TMP/journeys"
    NO_COLOR=1 "$STAGE_07/trace" replay "$TMP/$1" -n 1 >"$TMP/one"
    cat "$TMP/one"
    awk '$4 == "irq_handler_entry" || $3 == "irq_handler_entry" { irq = NR } / skb_copy_datagram_iovec / { copy = NR }
         END { exit !(irq && copy > irq) }' "$TMP/one"
    grep -q 'try_to_wake_up' "$TMP/$1.tree"
}

@test "an output file that cannot be written: one line on stderr, before the machine boots" {
    rule "vm/run checks its arguments first" "the file is opened only when the recording is complete" "chapter 7"
    local code=0
    "$STAGE_07/vm/run" e1000 "$TMP/no/such/folder" >"$TMP/out" 2>&1 || code=$?
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/out")" = 1 ]
    grep -q "^vm: cannot write $TMP/no/such/folder" "$TMP/out"
}

@test "compressed modules without unxz: one line names the package to install" {
    rule "vm/run names what is missing and how to install it" "vm/run does not check for unxz" "chapter 7"
    local tool code=0
    for tool in apt-get dpkg-deb qemu-system-x86_64 cpio gzip cc; do need $tool "which vm/run uses" "apt-get install cpio gcc gzip qemu-system-x86"; done
    mkdir -p "$TMP/bin" "$TMP/cache/echo-vm/modules"
    for tool in bash env apt-get dpkg-deb qemu-system-x86_64 cpio gzip cc dirname mktemp mkdir cp chmod rm; do
        ln -s "$(command -v $tool)" "$TMP/bin"
    done
    touch "$TMP/cache/echo-vm/complete" "$TMP/cache/echo-vm/busybox" "$TMP/cache/echo-vm/modules/e1000.ko.xz"
    PATH=$TMP/bin XDG_CACHE_HOME=$TMP/cache "$STAGE_07/vm/run" e1000 "$TMP/recording" >"$TMP/out" 2>&1 || code=$?
    cat "$TMP/out"
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/out")" = 1 ]
    grep -q '^vm: needs unxz .*apt-get install xz-utils' "$TMP/out"
}

# bats test_tags=long
@test "e1000: journeys are complete from the card's interrupt on, and the call tree is recorded" {
    rule "the tracer follows a packet through a real network driver" "this kernel has other names for an event of hops.c, or the machine booted too slowly" "chapter 7"
    record_journeys e1000
}

# bats test_tags=long
@test "virtio-net: journeys are complete from the card's interrupt on, and the call tree is recorded" {
    rule "the tracer follows a packet through a real network driver" "this kernel has other names for an event of hops.c, or the machine booted too slowly" "chapter 7"
    record_journeys virtio
}

# bats test_tags=long
@test "interrupt threads, threaded NAPI, deferred interrupts: what scheduled NET_RX is named, and nothing is missing" {
    rule "NET_RX may be scheduled by an interrupt, a thread or a timer" "only a card's interrupt is expected" "chapter 7"
    need_vm
    local kind
    for kind in threadirqs threaded deferred; do
        "$STAGE_07/vm/run" $kind "$TMP/$kind"
        NO_COLOR=1 "$STAGE_07/trace" replay "$TMP/$kind" >"$TMP/journeys"
        NO_COLOR=1 "$STAGE_07/trace" replay "$TMP/$kind" -n 1 | tr -s '\n ' ' ' >"$TMP/$kind.one"
        cat "$TMP/journeys" "$TMP/$kind.one"
        grep -q '^8 journeys: .* [01] incomplete; 0 events lost' "$TMP/journeys"
    done
    grep -q '^thread [0-9]* irq/[0-9]*-eth0' "$TMP/threadirqs"
    grep -q 'A thread scheduled this' "$TMP/threadirqs.one"
    grep -q '^thread [0-9]* napi/eth0' "$TMP/threaded"
    grep -q 'A thread of NAPI received this packet' "$TMP/threaded.one"
    if grep -q softirq_entry "$TMP/threaded.one"; then false; fi
    grep -q "An interrupt without a handler's event scheduled this" "$TMP/deferred.one"
}

# bats test_tags=long
@test "in a kernel that is locked down, the tracer gives the reason and shows six hops from the sockets" {
    rule "if the kernel does not let the tracer see events, the tracer gives the reason and shows what it can" "this kernel reports the lockdown with another errno, or in another folder, than missing() expects" "chapter 7"
    need_vm
    local hop
    "$STAGE_07/vm/run" lockdown "$TMP/lockdown"
    cat "$TMP/lockdown"
    grep -qF '[confidentiality]' "$TMP/lockdown" # the kernel really is locked down
    tr '\n' ' ' <"$TMP/lockdown" | grep -qF 'tracefs is mounted and holds no events: the kernel is locked down (lockdown=confidentiality), or was built without them. Next best: what the sockets'
    for hop in send TX_SCHED_stamp TX_SOFTWARE_stamp RX_SOFTWARE_stamp epoll_wait_returned recvmsg_returned; do
        grep -q " $hop " "$TMP/lockdown" || { echo "this hop is missing: $hop"; return 1; }
    done
    ! grep 'not seen' "$TMP/lockdown" || return 1
    [ "$(tail -n 1 "$TMP/lockdown")" = 'exit code 0' ]
}

@test "trace drops in the distribution's kernel: at least nine kinds of lost packets, each with its reason" {
    rule "trace drops takes the reasons from the kernel that runs" "another kernel prints the events in another form, or drops in another function" "chapter 7"
    need_vm
    local kind count=0
    "$STAGE_07/vm/run" drops "$TMP/drops"
    cat "$TMP/drops"
    [ "$(tail -n 1 "$TMP/drops")" = 'exit code 0' ]
    ! grep 'not seen' "$TMP/drops" || return 1
    sed -n '/^KIND/,/^$/p' "$TMP/drops" >"$TMP/table"
    for kind in "no-listener receive NO_SOCKET TcpOutRsts" "receive-buffer tcp PROTO_MEM TcpExtTCPRcvQDrop" \
        "udp-buffer receive SOCKET_RCVBUFF UdpRcvbufErrors" "old-sequence tcp TCP_OLD_DATA TcpExtTCPDSACKOldSent" \
        "bad-checksum receive TCP_CSUM TcpInCsumErrors" "wrong-mac receive OTHERHOST rx_otherhost_dropped" \
        "wrong-address receive IP_INADDRERRORS IpInAddrErrors"; do
        tr -s ' ' <"$TMP/table" | grep -qx "$kind" || { echo "this line is missing: $kind"; return 1; }
    done
    count=$(grep -c '^[a-z-]*  *\(receive\|tcp\)  *[A-Z]' "$TMP/table")
    [ "$count" -ge 9 ]
    # Linux 6.1 prints addresses, which drops looks up.
    [ "$(grep -c '^  dropped by  [a-z0-9]*_[a-z0-9_]*$' "$TMP/drops")" -ge 9 ]
    ! grep 'dropped by  not known' "$TMP/drops" || return 1
}
