# The development daemon: its token, configuration and process. Sourced after postgres.sh, process.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # DEV, BIN and RUN come from the files before

# A subshell for its umask: PIN and URLs are for the daemon's user only.
write_config() (
    umask 077
    mkdir -p "$DEV/state"
    [ -s "$DEV/pin" ] || od -An -N16 -tx1 /dev/urandom | tr -d ' ' >"$DEV/pin"
    for role in writer owner; do
        echo "postgresql://hsmd_$role@/hsmd?host=$RUN" | put "$DEV/database-$role.url"
    done
    sed -e "s|@DEV@|$DEV|; s|@RUN@|$RUN|; s|@UID@|$(id -u)|; s|@MODULE@|$SOFTHSM_MODULE|" \
        -e "s|@PORT@|$(port hsmd)|; s|@OBSERVE@|$(port metrics)|" "$ROOT/scripts/dev.toml.in" | put "$DEV/hsmd.toml"
)

# To be sourced by whoever wants to use what runs.
write_env() {
    cat <<END | put "$DEV/env"
export HSMD_ENDPOINT=unix://$RUN/service.sock
export HSMD_ADMIN_ENDPOINT=unix://$RUN/admin.sock
export HSMD_IDENTITY=$(<"$DEV/identity")
export SOFTHSM2_CONF=$SOFTHSM2_CONF
export PATH=$BIN:\$PATH
export HSMD_HSM_IDENTITY=$(<"$DEV/identity")
export HSMD_METRICS_URL=http://127.0.0.1:$(port metrics)
export HSMD_KEYS_URL=$(url keys)
export HSMD_AUTH_URL=$(url auth-1)
export HSMD_AUTH_2_URL=$(url auth-2)
export HSMD_APP_URL=$(url app)
export HSMD_REDIS_SOCKET=$RUN/redis.sock
$(accounts_env)
$(apps_env)
END
}

# Everything before `serve` is safe to repeat, except `init`, which makes the identity once.
daemon_up() {
    local configured=("$BIN/hsmd" --config "$DEV/hsmd.toml")
    SOFTHSM2_CONF=$("$BIN/hsmd-softhsm" provision --dir "$DEV/softhsm" --label hsmd-dev --pin-file "$DEV/pin")
    export SOFTHSM2_CONF
    if ! process_current hsmd "$BIN/hsmd"; then
        process_stop hsmd
        "${configured[@]}" migrate
        [ -s "$DEV/identity" ] || "${configured[@]}" init >"$DEV/identity"
        process_start hsmd "${configured[@]}" serve
    fi
    write_env
}

daemon_ready() {
    # shellcheck source=/dev/null
    . "$DEV/env"
    wait_for 30 hsmctl status || process_failed hsmd
}
