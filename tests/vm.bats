#!/usr/bin/env bats
# A stock kernel in a virtual machine, with an emulated network card: journeys that begin with the
# card's interrupt.  Order and presence of hops are checked, never times: there is no KVM.
load support/helpers

ROOM=$TESTS/../07-nic-to-app

need_machine() {
    [ -n "${LONG:-}" ] || skip "boots a virtual machine; to run it: LONG=1 make test"
    need qemu-system-x86_64 "for a virtual machine" "apt-get install qemu-system-x86"
    need apt-get "for a stock kernel" "Debian or Ubuntu"
    need cpio "for an initramfs" "apt-get install cpio"
    apt-cache show linux-image-amd64 >/dev/null 2>&1 || skip "apt knows no linux-image-amd64; to run it: Debian, and apt-get update"
}
# boot CARD: 8 packets; the recording is $TMP/CARD.
boot() {
    need_machine
    "$ROOM/vm/run" "$1" "$TMP/$1"
    NO_COLOR=1 "$ROOM/trace" replay "$TMP/$1" >"$TMP/many"
    cat "$TMP/many"
    [ "$(sed -n 's/.*journeys: \([0-9]*\) complete.*/\1/p' "$TMP/many")" -ge 6 ]
    grep -q ' 0 events lost' "$TMP/many"
    NO_COLOR=1 "$ROOM/trace" replay "$TMP/$1" -n 1 >"$TMP/one"
    cat "$TMP/one"
    awk '$4 == "irq_handler_entry" || $3 == "irq_handler_entry" { irq = NR } / skb_copy_datagram_iovec / { copy = NR }
         END { exit !(irq && copy > irq) }' "$TMP/one"
    grep -q 'try_to_wake_up' "$TMP/$1.tree"
}

@test "a file that cannot be written: one line, before anything is booted" {
    local code=0
    "$ROOM/vm/run" e1000 "$TMP/no/such/folder" >"$TMP/out" 2>&1 || code=$?
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/out")" = 1 ]
    grep -q "^vm: cannot write $TMP/no/such/folder" "$TMP/out"
}

@test "modules that are compressed, and no unxz: one line that says what to install" {
    local tool code=0
    for tool in apt-get dpkg-deb qemu-system-x86_64 cpio gzip cc; do need $tool "for vm/run" "see the test e1000"; done
    mkdir -p "$TMP/bin" "$TMP/cache/echo-vm/modules"
    for tool in bash env apt-get dpkg-deb qemu-system-x86_64 cpio gzip cc dirname mktemp mkdir cp chmod rm; do
        ln -s "$(command -v $tool)" "$TMP/bin"
    done
    touch "$TMP/cache/echo-vm/complete" "$TMP/cache/echo-vm/busybox" "$TMP/cache/echo-vm/modules/e1000.ko.xz"
    PATH=$TMP/bin XDG_CACHE_HOME=$TMP/cache "$ROOM/vm/run" e1000 "$TMP/recording" >"$TMP/out" 2>&1 || code=$?
    cat "$TMP/out"
    [ $code = 1 ]
    [ "$(wc -l <"$TMP/out")" = 1 ]
    grep -q '^vm: needs unxz .*apt-get install xz-utils' "$TMP/out"
}

@test "e1000: complete journeys from the card's interrupt, and the kernel's call tree" {
    rule "a real driver can be followed on any laptop" "" "chapter 7"
    boot e1000
}

@test "virtio-net: the same" {
    rule "a real driver can be followed on any laptop" "" "chapter 7"
    boot virtio
}

@test "a kernel that is locked down: the tracer says so, and shows the next rung's six hops; exit 0" {
    rule "what the kernel does not let us see is said in a sentence, and the next best is shown" "another errno or folder than missing() expects" "chapter 7"
    need_machine
    local hop
    "$ROOM/vm/run" lockdown "$TMP/lockdown"
    cat "$TMP/lockdown"
    grep -qF '[confidentiality]' "$TMP/lockdown" # it really is
    tr '\n' ' ' <"$TMP/lockdown" | grep -qF 'tracefs is mounted and holds no events: the kernel is locked down (lockdown=confidentiality), or was built without them. Next best: what the sockets'
    for hop in send TX_SCHED_stamp TX_SOFTWARE_stamp RX_SOFTWARE_stamp epoll_wait_returned recvmsg_returned; do
        grep -q " $hop " "$TMP/lockdown" || { echo "not shown: $hop"; return 1; }
    done
    ! grep 'not seen' "$TMP/lockdown" || return 1
    [ "$(tail -n 1 "$TMP/lockdown")" = 'exit code 0' ]
}
