# Processes and files of a development installation. Sourced after lib.sh.
# A process is known by its configuration, $DEV/NAME.*: a process id alone may be somebody else's by now.
# shellcheck shell=bash

# put FILE: standard input becomes the file; one that says the same already keeps its time.
put() {
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# port NAME: a port of 127.0.0.1 for NAME, the same one until reset; outside of what clients are given.
port() {
    mkdir -p "$DEV/ports"
    if [ ! -s "$DEV/ports/$1" ]; then
        local port
        # Within one installation no two have the same, whoever listens already.
        until port=$((20000 + RANDOM % 12000)) && ! grep -qsx "$port" "$DEV"/ports/* &&
            ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
        echo "$port" >"$DEV/ports/$1"
    fi
    cat "$DEV/ports/$1"
}

# The process id of NAME, if it runs.
process_id() {
    local pid
    pid=$(cat "$DEV/$1.pid" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$DEV/$1." || return 1
    echo "$pid"
}

process_stopped() { ! process_id "$1"; }

# process_current NAME PROGRAM: it runs, and neither its program nor its configuration has changed.
process_current() {
    local pid
    pid=$(process_id "$1") && [ "$(readlink "/proc/$pid/exe")" = "$2" ] &&
        [ "$DEV/$1.pid" -nt "$DEV/$1.toml" ]
}

process_start() {
    local name=$1
    shift
    # Without target.sh's channel: whoever reads that would wait for the process.
    setsid "$@" </dev/null >>"$DEV/$name.log" 2>&1 3>&- &
    echo $! >"$DEV/$name.pid"
}

process_stop() {
    local pid
    pid=$(process_id "$1") || return 0
    kill "$pid"
    wait_for 15 process_stopped "$1" || kill -KILL "$pid"
}

# process_failed NAME: ends with what its log says.
process_failed() {
    tail -n 20 "$DEV/$1.log" >&2
    die "$1 is not ready, see $DEV/$1.log; scripts/dev reset starts anew"
}
