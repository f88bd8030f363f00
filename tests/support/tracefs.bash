# For test files that look into tracefs.  Where nobody has mounted it, root mounts it as the tracer does: in a
# mount namespace of its own, so that no other process sees the mount and it ends with the process that has
# it.  Through /proc, the tests see what that process sees.
#   TRACEFS   where the tests find it; [ -d "$TRACEFS/instances" ] if they do
#   WITNESS   the name of an instance that a test may make in it; it is removed after the file's last test
MOUNT=/sys/kernel/tracing
setup_file() {
    export TRACEFS=$MOUNT TRACEFS_HOLDER='' WITNESS=''
    [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || return 0
    if [ ! -d "$MOUNT/instances" ]; then
        local ready
        ready=$(mktemp -u "${TMPDIR:-/tmp}/tracefs.XXXXXX")
        mkfifo "$ready" || return 0
        unshare -m sh -c "mount -t tracefs none $MOUNT; echo done >'$ready'; exec sleep 3600" >/dev/null 2>&1 3>&- &
        TRACEFS_HOLDER=$!
        read -r -t 10 _ <>"$ready" || :
        rm -f "$ready"
        TRACEFS=/proc/$TRACEFS_HOLDER/root$MOUNT
    fi
    WITNESS=$TRACEFS/instances/echo-tests-$$
}
teardown_file() {
    [ -z "$WITNESS" ] || [ ! -d "$WITNESS" ] || rmdir "$WITNESS"
    [ -z "$TRACEFS_HOLDER" ] || kill "$TRACEFS_HOLDER" 2>/dev/null || :
}
