# The development daemon's configuration and process. Sourced after lib.sh and postgres.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # DEV, BIN and RUN come from the files before

# A subshell for its umask: PIN and URLs are for the daemon's user only.
write_config() (
    umask 077
    mkdir -p "$DEV/state"
    [ -s "$DEV/pin" ] || od -An -N16 -tx1 /dev/urandom | tr -d ' ' >"$DEV/pin"
    for role in writer owner; do
        echo "postgresql://hsmd_$role@/hsmd?host=$RUN" >"$DEV/database-$role.url"
    done
    sed -e "s|@DEV@|$DEV|; s|@RUN@|$RUN|; s|@UID@|$(id -u)|; s|@MODULE@|$SOFTHSM_MODULE|" \
        "$ROOT/scripts/dev.toml.in" >"$DEV/hsmd.toml"
)

# To be sourced by whoever wants to use what runs.
write_env() {
    cat >"$DEV/env" <<END
export HSMD_ENDPOINT=unix://$RUN/service.sock
export HSMD_ADMIN_ENDPOINT=unix://$RUN/admin.sock
export HSMD_IDENTITY=$(<"$DEV/identity")
export SOFTHSM2_CONF=$SOFTHSM2_CONF
export PATH=$BIN:\$PATH
END
}

# The daemon's process, if it runs: a process id alone may be somebody else's by now.
daemon_pid() {
    local pid
    pid=$(cat "$DEV/hsmd.pid" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--config $DEV/hsmd.toml" || return 1
    echo "$pid"
}

daemon_stopped() { ! daemon_pid; }

# A daemon whose file a build has replaced runs old code.
daemon_current() { [ "$(readlink "/proc/$(daemon_pid)/exe")" = "$BIN/hsmd" ]; }

# Everything before `serve` is safe to repeat, except `init`, which makes the identity once.
daemon_up() {
    local configured=("$BIN/hsmd" --config "$DEV/hsmd.toml")
    SOFTHSM2_CONF=$("$BIN/hsmd-softhsm" provision --dir "$DEV/softhsm" --label hsmd-dev --pin-file "$DEV/pin")
    export SOFTHSM2_CONF
    "${configured[@]}" migrate
    [ -s "$DEV/identity" ] || "${configured[@]}" init >"$DEV/identity"
    write_env
    setsid "${configured[@]}" serve </dev/null >>"$DEV/hsmd.log" 2>&1 &
    echo $! >"$DEV/hsmd.pid"
}

daemon_ready() {
    # shellcheck source=/dev/null
    . "$DEV/env"
    wait_for 30 hsmctl status || {
        tail -n 20 "$DEV/hsmd.log" >&2
        die "the daemon is not ready, see $DEV/hsmd.log; scripts/dev reset starts anew"
    }
}

daemon_down() {
    local pid
    pid=$(daemon_pid) || return 0
    kill "$pid"
    wait_for 15 daemon_stopped || kill -KILL "$pid"
}
