#!/usr/bin/env bats
# What the commands tell a person at a terminal: names that are almost right, a server that cannot start, the
# next step, colours, a pager, the width of the screen, and the claims of the doctor.
load support/output

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
    BUILT=$(mktemp -d "${TMPDIR:-/tmp}/terminal.XXXXXX")
    export ROOT BUILT
    clean_environment
    mkdir -p "$BUILT/tests/programs" "$BUILT/book"
    cp "$ROOT/Makefile" "$BUILT"
    cp -R "$ROOT/tests/commands" "$ROOT/tests/support" "$BUILT/tests"
    cp "$ROOT"/tests/programs/*.[ch] "$BUILT/tests/programs"
    for stage in "$ROOT"/0*-*; do cp -R "$stage" "$BUILT"; done
    make -C "$BUILT" >"$BUILT/build.log" 2>&1 || { cat "$BUILT/build.log"; return 1; }
    chmod -R a+rX "$BUILT"
}
teardown_file() { rm -rf "$BUILT"; }
setup() {
    clean_environment
    T=$(mktemp -d "${TMPDIR:-/tmp}/terminal.XXXXXX")
    cd "$BUILT" || return 1
    PIDS=
}
teardown() {
    for pid in $PIDS; do kill -KILL "$pid" 2>/dev/null || :; done
    cd / && rm -rf "$T"
}
clean_environment() {
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKE V PORT ARGS STAGE SERVER SERVER_ARGS ONLY LONG NO_COLOR CC CFLAGS CPPFLAGS \
        LDFLAGS LDLIBS TOUR_DEADLINE CDPATH COLUMNS PAGER LESS MDBOOK QUICK FILES
}

joined() { printf '%s\n' "$output" | paste -s -d ' ' - | tr -s ' '; }
says() { joined | grep -qF -e "$1" || { echo "expected: $1"; return 1; }; }
need_script() { script -qec true /dev/null >/dev/null 2>&1 </dev/null || skip "needs script of util-linux; to run it: apt-get install bsdutils"; }
# screen COLUMNS COMMAND: what the command prints on a terminal of this width.
screen() { script -qec "stty cols $1 rows 24; $2" /dev/null </dev/null | tr -d '\r'; }
# fits_columns N: no line of the output is longer.
fits_columns() {
    printf '%s\n' "$output" | LC_ALL=C tr -d '\200-\277' |
        LC_ALL=C awk -v most="$1" 'length > most { print "over " most " columns: " $0; bad = 1 } END { exit bad }'
}
# The words of a text, one on a line, without figures and rules.
words() { tr -s ' \n' '\n\n' | sed 's/[0-9][0-9.]*/N/g; /^-*$/d'; }
# as_nobody COMMAND...: run it as an ordinary user.
as_nobody() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
    else
        env TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    fi
}
need_nobody() { [ "$(id -u)" != 0 ] || command -v setpriv >/dev/null || skip "needs an ordinary user; to run it: install util-linux"; }

# ---- names ----

@test "a misspelt variable on make's command line stops the command and names the right one" {
    while read -r meant words; do
        for make in $(makes); do
            # shellcheck disable=SC2086
            run $make $words
            echo "$make $words: $output"
            [ "$status" -ne 0 ]
            says "Did you mean $meant?"
            lacks 'listening on'
            lacks 'Testing'
        done
    done <<'END_OF_LIST'
STAGE test SATGE=04
STAGE test -k STAGES=04
STAGE tour stage=03
QUICK bench QUIK=1
STAGES bench STAGE=04
PORT run-02 PROT=0
PORT run-02 -s port=0
ARGS run-04 ARG=-h PORT=0
FROM sync FORM=04
MDBOOK book MDBOK=x
V run-02 VERBOSE=1 PORT=70000
CFLAGS 02 CFLAG=-O3
END_OF_LIST
}

@test "a variable without effect is noted, and one of make or the compiler is not" {
    for make in $(makes); do
        run $make run-03 ARGS=-h NONSENSE=1
        echo "$output"
        [ "$status" -eq 0 ]
        says '"make run-03" does not read NONSENSE, so it has no effect. It reads: V PORT ARGS STAGE.'
        run $make diff-02 QUICK=1
        [ "$status" -eq 0 ]
        says '"make diff-02" does not read QUICK, so it has no effect.'
        run $make 03 V=1 CC=cc LDFLAGS= CPPFLAGS=-DNONSENSE=1 CXXFLAGS=-O2 MAKEFILES= TMPDIR="$T"
        echo "$output"
        [ "$status" -eq 0 ]
        lacks 'does not read'
        # A value may look like a variable, and may have blanks, quotes and line ends.
        run $make run-03 ARGS='-h SATGE=04' V='1 "QUIK=1" '\''LONGG=1'\'
        lacks 'does not read'
    done
}

@test "every variable that a script's header explains is in the list of variables" {
    run bash -c '. tests/commands/names; for target in test bench torture; do
        case $target in
        test) script="tests/commands/run tests/commands/run-foreign" ;;
        torture) script=tests/commands/torture ;;
        bench) script='"$ROOT"'/tests/bench/run ;;
        esac
        for name in $(sed -n "/^# Variables/,/^set -u/s/^#   \([A-Z][A-Z_]*\)[= ].*/\1/p" $script | sort -u); do
            echo "$target $name"
            has_word "$(variables_of $target)" "$name" || echo "missing: $target $name"
        done
    done'
    echo "$output"
    [ "${#lines[@]}" -ge 20 ]
    lacks '^missing'
}

@test "a name that is almost a target: it is done, or the right name is suggested" {
    for make in $(makes); do
        for target in 4 04 epoll 4-epoll 04-epoll 04-epoll/; do
            run $make $target
            echo "$make $target: $output"
            [ "$status" -eq 0 ]
            says '04-epoll up to date'
        done
        for target in run-4 run-epoll run-4-epoll; do
            run $make $target ARGS=-h
            [ "$status" -eq 0 ]
            says 'usage: server [-v] [-b ADDRESS] [-p PORT] [-e]'
        done
        run $make run STAGE=4 ARGS=-h
        [ "$status" -eq 0 ]
        says 'usage: server [-v] [-b ADDRESS] [-p PORT] [-e]'
        for target in 8 run-8 diff-09 test-0; do
            run $make $target
            [ "$status" -ne 0 ]
            says "There is no stage \"${target#*-}\". \"make help\" lists them: 01 to 07."
        done
        while read -r typed meant; do
            run $make $typed
            echo "$make $typed: $output"
            [ "$status" -ne 0 ]
            says "There is no target \"$typed\". Did you mean \"make $meant\"?"
        done <<'END_OF_LIST'
tset-04 test-04
tets test
docter doctor
hlep help
04-epol 04-epoll
epol 04-epoll
run04 run-04
rnu-03 run-03
limit_06 limit-06
dif-kqueue diff-05-kqueue
END_OF_LIST
        run $make run-04-epol
        says 'There is no stage "04-epol". Did you mean 04-epoll?'
    done
}

# ---- make run-NN ----

@test "a server that cannot start: the advice is in make's variables" {
    ./02-select/server -p 0 >"$T/out" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" listening
    port=$(sed 's/.*://' "$T/out")
    while IFS='|' read -r words reason command; do
        eval "run make $words"
        echo "make $words: $output"
        [ "$status" -ne 0 ]
        says "$reason"
        printf '%s\n' "$output" | grep -qxF "  make $command"
        lacks 'try -'
    done <<END_OF_LIST
run-02 PORT=$port|127.0.0.1 port $port: Address already in use|run-02 PORT=0
run-epoll PORT=$port V=1 ARGS=-e|127.0.0.1 port $port: Address already in use|run-epoll V=1 ARGS='-e' PORT=0
run-04 ARGS='-e -p $port'|127.0.0.1 port $port: Address already in use|run-04 ARGS='-e' PORT=0
run-4 ARGS='-b 0.0.0.0 -p$port'|0.0.0.0 port $port: Address already in use|run-4 ARGS='-b 0.0.0.0' PORT=0
run-03 ARGS='-b 192.0.2.9' PORT=0|not an address of this machine|run-03 PORT=0
run-03 ARGS='-b 224.0.0.1'|a multicast or broadcast address|run-03 ARGS='-b 0.0.0.0'
run-03 PORT=99999|PORT=99999: not a port|run-03
END_OF_LIST
    need_nobody
    run as_nobody make run-02 PORT=80 V=1
    echo "$output"
    if [ "$status" -ne 0 ]; then # some systems let everybody use port 80
        says 'port 80: Permission denied (low ports'
        printf '%s\n' "$output" | grep -qx '  make run-02 V=1 PORT=0'
    fi
    [ -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'run.??????' -newer "$T/out" 2>/dev/null)" ]
}

@test "a message of a reader's own server is shown as it is" {
    cp -R "$BUILT" "$T/copy"
    cd "$T/copy"
    printf '#!/bin/sh\necho "no luck today; try tomorrow" >&2\nexit 3\n' >02-select/server
    run make run-02 ARGS='-b 127.0.0.1'
    echo "$output"
    [ "$status" -ne 0 ]
    [ "${lines[0]}" = 'no luck today; try tomorrow' ]
}

@test "make run-NN tells a user at a terminal what to type next, and nobody else" {
    need_script
    run screen 80 'make run-02 PORT=70000 || make run-02 V=1 PORT=0 & sleep 2; kill $(pgrep -s 0 -x server)'
    echo "$output"
    says 'What next: type this in another terminal, with the port that the server prints below. Ctrl-C here stops the server.'
    printf '%s\n' "$output" | grep -qx "  $(sh tests/commands/doctor client 127.0.0.1 PORT)"
    V=1 PORT=0 sh tests/commands/targets run-03 >"$T/out" 2>"$T/err" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" listening
    run cat "$T/err"
    lacks 'What next'
}

@test "the command that connects a terminal to a server works, whatever is installed" {
    mkdir "$T/bin"
    for tool in sh bash env dirname uname id cat; do ln -s "$(command -v $tool)" "$T/bin/$tool"; done
    ./02-select/server -p 0 >"$T/out" 3>&- &
    PIDS=$!
    wait_until 5 has "$T/out" listening
    port=$(sed 's/.*://' "$T/out")
    for program in nc ncat netcat telnet socat; do
        printf '#!/bin/sh\n' >"$T/bin/$program"
        chmod +x "$T/bin/$program"
        run env PATH="$T/bin" sh tests/commands/doctor client 127.0.0.1 "$port"
        echo "$output"
        case $program in socat) [ "$output" = "socat - TCP:127.0.0.1:$port" ] ;; *) [ "$output" = "$program 127.0.0.1 $port" ] ;; esac
        rm "$T/bin/$program"
    done
    run env PATH="$T/bin" sh tests/commands/doctor client 127.0.0.1 "$port"
    echo "$output"
    printf 'hello\nworld\n' >"$T/in"
    answer=$(PATH=$T/bin sh -c "$output" <"$T/in")
    [ "$answer" = "$(printf 'hello\nworld')" ]
}

# ---- the pager, and colours ----

@test "make diff-NN uses a pager on a terminal, as git does" {
    need_script
    export TERM=xterm PAGER='sed s/^/paged:/'
    run screen 80 'make diff-02'
    [ "${lines[0]}" = 'paged:--- 01-blocking/server.c' ] # and no colours, which this pager may not show
    PAGER=no-such-program run screen 80 'make diff-02 | cat'
    [ "${lines[0]}" = '--- 01-blocking/server.c' ]
    PAGER='' run screen 80 'NO_COLOR=1 make diff-02'
    [ "${lines[0]}" = '--- 01-blocking/server.c' ]
    TERM=dumb run screen 80 'make diff-02'
    [ "${lines[0]}" = '--- 01-blocking/server.c' ]
    run make diff-02
    [ "${lines[0]}" = '--- 01-blocking/server.c' ]
    # Without PAGER: less, with its usual options, and colours.
    mkdir "$T/bin"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n[ "$1" != --version ] || { echo less 600; exit; }\necho "LESS=$LESS"\ncat\n' >"$T/bin/less"
    chmod +x "$T/bin/less"
    unset PAGER
    PATH=$T/bin:$PATH run screen 80 'make diff-02'
    [ "${lines[0]}" = 'LESS=FRX' ]
    printf '%s\n' "${lines[1]}" | grep -q "^$(printf '\033')\\["
    LESS=-i PATH=$T/bin:$PATH run screen 80 'make diff-02' # this less shows no colours
    [ "${lines[0]}" = 'LESS=-i' ]
    [ "${lines[1]}" = '--- 01-blocking/server.c' ]
}

@test "colours only on a terminal that can show them, and only if its user wants them" {
    need_script
    export PAGER=cat
    escape=$(printf '\033')
    for command in 'make tour STAGE=03' 'make diff-03' 'make doctor' '07-nic-to-app/trace explain tcp_probe'; do
        [ "$(uname -s)" = Linux ] || [ "${command#07}" = "$command" ] || continue
        TERM=xterm run screen 80 "$command"
        printf '%s\n' "$output" | grep -q "$escape\\[" || { echo "no colours: $command"; false; }
        for setting in TERM=dumb TERM= NO_COLOR=1 '-u TERM'; do
            # shellcheck disable=SC2086
            TERM=xterm run screen 80 "env $setting $command"
            lacks "$escape" || { echo "with $setting: $command"; false; }
        done
        TERM=xterm run bash -c "$command"
        lacks "$escape"
    done
}

# ---- the width of the screen ----

# narrow COMMAND: at 40 columns it has the words that it has at 80, and no longer lines.
narrow() {
    COLUMNS=40 run bash -c "$1"
    echo "$output"
    fits_columns 40
    printf '%s\n' "$output" | words >"$T/narrow"
    run bash -c "$1"
    fits_columns 80
    printf '%s\n' "$output" | words | diff - "$T/narrow"
}

@test "help, tour, sync and explain fit on 40 columns, and break between words" {
    for make in $(makes); do narrow "$make help"; done
    narrow 'make sync'
    narrow 'make diff-03 | sed -n "/^Shared/,\$p"'
    COLUMNS=40 run make tour STAGE=all
    printf '%s\n' "$output" | grep -v -e '^  07-nic-to-app/trace replay' >"$T/out"
    run cat "$T/out"
    echo "$output"
    fits_columns 40
    says 'Three clients connect to each server: A sends nothing, B sends its message in two pieces'
    printf '%s\n' "$output" | grep -qx 'epoll_wait  1 ready  fd [0-9]* EPOLLIN'
    printf '%s\n' "$output" | grep -qx '          recv 3, send 3'
    [ "$(uname -s)" = Linux ] || return 0
    narrow '07-nic-to-app/trace explain tcp_probe'
    narrow '07-nic-to-app/trace explain'
    for file in lo card-e1000 sockets many; do
        COLUMNS=40 run 07-nic-to-app/trace replay 07-nic-to-app/recordings/$file.txt
        fits_columns 40
        COLUMNS=40 run 07-nic-to-app/trace replay 07-nic-to-app/recordings/$file.txt -n 1 --brief
        fits_columns 40
    done
}

@test "make doctor, make limit-01 and messages fit on 40 columns" {
    COLUMNS=40 run make doctor
    echo "$output"
    fits_columns 40
    says 'ok compiler builds the servers'
    COLUMNS=40 run make limit-01
    echo "$output"
    [ "$status" -eq 0 ]
    fits_columns 40
    says 'with TCP_NODELAY'
    COLUMNS=40 run make run-02 PORT=99999
    printf '%s\n' "$output" | grep -v '^make' >"$T/out"
    run cat "$T/out"
    fits_columns 40
}

# outside_bats COMMAND...: without the variables and the PATH of this bats, which would confuse the bats that
# the command runs.
outside_bats() { (PATH=${PATH#"$BATS_LIBEXEC:"} && unset "${!BATS_@}" && "$@"); }

@test "make test, torture and prove fit on 40 columns, and keep the exit code" {
    cd "$BATS_TEST_DIRNAME/.." # the copy has no tests
    COLUMNS=40 run outside_bats make test STAGE=02 FILES=contract ONLY='SIGTERM stops the server while'
    echo "$output"
    [ "$status" -eq 0 ]
    fits_columns 40
    says '1 passed, 0 failed'
    COLUMNS=40 run outside_bats make test SERVER=sleep SERVER_ARGS='100 PORT' STAGE=02
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -v '^make' >"$T/out"
    run cat "$T/out"
    echo "$output"
    fits_columns 40
    [ "$(uname -s)" = Linux ] || return 0
    COLUMNS=40 run make torture-02 FAULT=recvfrom:2:ENOMEM
    echo "$output"
    [ "$status" -eq 0 ]
    fits_columns 40
    COLUMNS=40 run outside_bats make prove ONLY='epoll_wait() does not read data'
    echo "$output"
    [ "$status" -eq 0 ]
    fits_columns 40
}

# ---- make torture without seccomp(2) ----

# The copy has no tests, so these run in the checkout.
need_linux() {
    [ "$(uname -s)" = Linux ] || skip "it has been tried only on Linux; to run it: Linux"
    cd "$BATS_TEST_DIRNAME/.."
}
# without_seccomp COMMAND...: run it where seccomp(2) fails, as in a container that forbids it.
without_seccomp() { strace -f -qq -o /dev/null -e trace=seccomp -e inject=seccomp:error=EPERM "$@"; }

@test "where seccomp(2) is forbidden, make torture says so and uses the preload library" {
    need_linux
    strace -qq -o /dev/null true 2>/dev/null || skip "needs strace, to forbid seccomp(2); to run it: install strace, in a container with --cap-add=SYS_PTRACE"
    run make torture STAGE='02-select' TORTURE=seccomp FAULT=recvfrom:2:ENOMEM
    [ "$status" -eq 0 ]
    lacks 'preload library'
    run without_seccomp make torture-02 FAULT=recvfrom:2:ENOMEM
    echo "$output"
    [ "$status" -eq 0 ]
    says 'The preload library injects the faults, because seccomp(2) fails: Operation not permitted.'
    says 'survived; one client was closed'
    run without_seccomp make torture-02 FAULT=recvfrom:2:ENOMEM TORTURE=seccomp
    echo "$output"
    [ "$status" -eq 2 ]
    says 'TORTURE=preload can'
    run make torture-02 TORTURE=strace
    [ "$status" -ne 0 ]
    says 'TORTURE=strace: expected seccomp or preload.'
}

@test "with the preload library, make torture names a fault that is not survived, and how to repeat it" {
    need_linux
    cp -R 04-epoll "$T"
    (cd "$T" && patch -s -p1 <"$ROOT/tests/bugs/shutdown-pipe-write-ignored.patch" && make -s -C 04-epoll server)
    run make torture-04 SERVER="$T/04-epoll/server" SERVER_ARGS='-p PORT' TORTURE=preload SAMPLE=1
    echo "$output"
    [ "$status" -ne 0 ]
    says 'not survived: write, call number'
    says 'the server does not stop on SIGTERM'
    repeat=$(printf '%s\n' "$output" | sed -n '/to repeat it:/{n;p;}')
    [[ $repeat == *TORTURE=preload* ]]
    run sh -c "$repeat"
    echo "$repeat: $output"
    [ "$status" -ne 0 ]
    says 'not survived: the server does not stop on SIGTERM'
}

@test "the preload library does not reach a static server: make torture says so and gives no score" {
    need_linux
    cc -std=c11 -static -pthread -o "$T/static" tests/programs/small.c 2>/dev/null || skip "needs the static C library; to run it: install libc6-dev or glibc-static"
    printf '#!/bin/sh\nexec "%s" "$1" threads\n' "$T/static" >"$T/script"
    chmod +x "$T/script"
    for server in static script; do
        run make torture-01 SERVER="$T/$server" SERVER_ARGS='PORT threads' TORTURE=preload SAMPLE=1
        echo "$output"
        printf '%s\n' "$output" | grep -q 'Error 2$'
        fits_columns 80
        says 'link the server dynamically'
        lacks 'survived'
        case $server in static) says 'no call was seen' ;; script) says 'no accept() was seen' ;; esac
    done
}

@test "an empty SERVER is a mistake, and does not mean our own servers" {
    for target in test test-04 grade-04 torture-04 watch see; do
        run make $target SERVER=
        echo "$output"
        [ "$status" -ne 0 ]
        says 'SERVER is empty. Name your program'
    done
}

@test "the width is that of the terminal; COLUMNS comes first; 80 is the most" {
    need_script
    export TERM=dumb
    run screen 50 'make help'
    fits_columns 50
    says 'run the servers and watch three clients connect'
    [ "$(printf '%s\n' "$output" | awk 'length > most { most = length } END { print most }')" -gt 40 ]
    run screen 50 'COLUMNS=60 make help'
    fits_columns 60
    [ "$(printf '%s\n' "$output" | awk 'length > most { most = length } END { print most }')" -gt 50 ]
    run screen 200 'make help'
    [ "$output" = "$(make help)" ]
    COLUMNS=nonsense run make help
    [ "$output" = "$(make help)" ]
    if [ "$(uname -s)" = Linux ]; then
        run screen 50 '07-nic-to-app/trace explain'
        fits_columns 50
    fi
}

# ---- the doctor ----

# only_without NAME...: print a folder with everything that is in PATH but these programs.
only_without() {
    local directory program
    rm -rf "$T/bin" && mkdir "$T/bin"
    for directory in /sbin /usr/sbin /bin /usr/bin /usr/local/bin; do
        [ ! -d $directory ] || find $directory/ -mindepth 1 -maxdepth 1 -exec ln -sf -t "$T/bin" {} +
    done
    for program; do rm -f "$T/bin/$program"; done
    chmod a+rx "$T" "$T/bin"
    echo "$T/bin"
}
last_line() { joined | sed 's/.* \(\(Not r\|R\)eady: \)/\1/; s/ make: \*\*\*.*//'; }

@test "the doctor's last line says what is missing and how to install it, or that all is ready" {
    [ "$(uname -s)" = Linux ] || skip "removes programs from the PATH of Linux; to run it: Linux"
    need_nobody
    for program in bats bash cc make awk ps diff find mkfifo mktemp head; do
        command -v $program >/dev/null || continue
        bin=$(only_without $program)
        run as_nobody env PATH="$bin" /bin/sh tests/commands/doctor
        echo "without $program: $output"
        case $program in
        bats) expected='Not ready: the tour can run, but the tests need bats. To fix it: ' ;;
        cc) expected='Not ready: missing: a C compiler. To fix it: ' ;;
        *) expected="Not ready: missing: $program. To fix it: " ;;
        esac
        how=$(PATH="$bin" /bin/sh tests/commands/doctor how "$([ $program = cc ] && echo compiler || echo $program)")
        [ "$status" -eq 1 ]
        last_line | grep -qF "$expected"
        last_line | grep -qF "${how##* }" # the package
    done
    for program in strace gdb ss ip unshare python3 gnuplot qemu-system-x86_64; do
        bin=$(only_without $program)
        ln -sf "$(command -v true)" "$T/bin/mdbook"
        command -v bats >/dev/null || printf '#!/bin/sh\necho Bats 1.8.2\n' >"$T/bin/bats"
        chmod +x "$T/bin/bats" 2>/dev/null || :
        run as_nobody env PATH="$bin" /bin/sh tests/commands/doctor
        echo "without $program: $output"
        [ "$status" -eq 0 ]
        [ "$(last_line)" = 'Ready: the tour and the tests can run. Start with: make tour' ]
        case $program in
        gdb | ss | ip | unshare | python3) says "$program missing: " || says "$program " ;;
        gnuplot) printf '%s\n' "$output" | grep -q '^-- gnuplot ' ;;
        strace) printf '%s\n' "$output" | grep -q '^-- strace ' ;;
        qemu*) printf '%s\n' "$output" | grep -q '^-- QEMU ' ;;
        esac
    done
}

@test "what the doctor calls ready can run: the tour, without each optional program" {
    [ "$(uname -s)" = Linux ] || skip "removes programs from the PATH of Linux; to run it: Linux"
    bin=$(only_without bats strace gdb ss ip unshare python3 gnuplot mdbook nc ncat less taskset setpriv stty)
    run env PATH="$bin" /bin/sh tests/commands/targets tour
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "the doctor does not call an old bats, or a strace that may not trace, found" {
    mkdir "$T/bin"
    printf '#!/bin/sh\necho Bats 0.4.0\n' >"$T/bin/bats"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n[ "$1" = -V ] && echo strace 6.1\n' >"$T/bin/strace"
    chmod +x "$T/bin/bats" "$T/bin/strace"
    PATH=$T/bin:$PATH run make doctor
    echo "$output"
    [ "$status" -ne 0 ]
    printf '%s\n' "$output" | grep -q '^no bats .*older than 1.2'
    [ "$(uname -s)" != Linux ] || printf '%s\n' "$output" | grep -q '^-- strace .*not allowed to trace'
    # The function that looks for nc must not be found in place of nc.
    for tool in sh awk chmod cut dd dirname grep head id mktemp rm sed sleep uname; do ln -s "$(command -v $tool)" "$T/bin/$tool"; done
    run env PATH="$T/bin" sh tests/commands/doctor
    printf '%s\n' "$output" | grep -q '^-- nc '
}

# ---- the variables of other commands ----

@test "make book and the doctor find mdBook where cargo, pip and pipx put it" {
    bin=$(only_without mdbook)
    for folder in .cargo/bin .local/bin Library/Python/3.9/bin; do
        rm -rf "$T/home"
        mkdir -p "$T/home/$folder"
        # shellcheck disable=SC2016
        printf '#!/bin/sh\necho "mdbook v0.5.1 $*"\n' >"$T/home/$folder/mdbook"
        chmod +x "$T/home/$folder/mdbook"
        run env -u CARGO_HOME HOME="$T/home" PATH="$bin" make book
        echo "$folder: $output"
        [ "$status" -eq 0 ]
        says 'build book'
        run env -u CARGO_HOME HOME="$T/home" PATH="$bin" make doctor
        printf '%s\n' "$output" | grep '^ok mdBook .*v0.5.1'
    done
}

@test "make book runs the program in MDBOOK, and says where to look" {
    printf '#!/bin/sh\necho mine "$@"\n' >"$T/mine"
    chmod +x "$T/mine"
    for make in $(makes); do
        run $make book MDBOOK="$T/mine"
        echo "$output"
        [ "$status" -eq 0 ]
        [ "${lines[0]}" = 'mine build book' ]
        says 'What next: open book/book/index.html in a browser.'
        run $make book MDBOOK="$T/none"
        [ "$status" -ne 0 ]
        says "MDBOOK=$T/none is not a program"
    done
}

@test "bats is missing: what its installation prints if it fails, or installs nothing" {
    mkdir "$T/bin"
    for program in bash dirname id rm tail; do ln -s "$(command -v "$program")" "$T/bin"; done
    printf '#!/bin/sh\n[ "$1" = -n ] || exec "$@"\n' >"$T/bin/sudo"
    printf '#!/bin/sh\necho no space left\nexit 1\n' >"$T/bin/pacman"
    chmod +x "$T/bin/sudo" "$T/bin/pacman"
    run env -i PATH="$T/bin" TMPDIR="$T" bash tests/support/setup-bats
    echo "$output"
    [ "$status" -eq 1 ]
    says 'no space left The installation failed. Install bats yourself'
    printf '#!/bin/sh\n' >"$T/bin/pacman"
    run env -i PATH="$T/bin" TMPDIR="$T" bash tests/support/setup-bats
    echo "$output"
    [ "$status" -eq 1 ]
    says 'there is no bats in PATH'
}
