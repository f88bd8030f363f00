# What the tests of the commands share: checks of the captured output, and waiting for an event.
# shellcheck shell=bash disable=SC2154 # bats sets $output

# The makes of this system.
makes() {
    echo make
    if command -v bmake >/dev/null; then echo bmake; fi
}
# bats ignores a failure after "!" or before "&&", so each check is a separate command.
lacks() { # no line of the output matches
    if printf '%s\n' "$output" | grep -e "$1"; then
        echo "the output must not contain: $1"
        return 1
    fi
}
wait_until() { # SECONDS COMMAND...
    local tries=$(($1 * 50))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "this did not happen in time: $*"; return 1; }
        sleep 0.02
    done
}
has() { grep -q -e "$2" "$1" 2>/dev/null; } # FILE PATTERN
