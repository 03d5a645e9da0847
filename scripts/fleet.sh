# The services around the development daemon: Redis, keys, two of auth, one of app, and the applications of
# apps.sh that were set up. Sourced last.
# shellcheck shell=bash
# shellcheck disable=SC2153 # DEV, BIN and RUN come from the files before

FLEET=(keys auth-1 auth-2 app)
for name in app-python app-typescript; do [ ! -e "$DEV/$name.json" ] || FLEET+=("$name"); done

url() { echo "http://127.0.0.1:$(port "$1")"; }

redis_dev() { redis-cli -s "$RUN/redis.sock" "$@"; }

# Nothing in it is the truth, so it keeps nothing.
redis_up() {
    put "$DEV/redis.conf" <<END
port 0
unixsocket $RUN/redis.sock
unixsocketperm 700
dir $DEV
save ""
appendonly no
set-proc-title no
END
    process_id redis >/dev/null || process_start redis redis-server "$DEV/redis.conf"
    wait_for 10 redis_dev ping || process_failed redis
}

auth_database() {
    database_up auth hsmd_auth
    (umask 077 && echo "postgresql://hsmd_auth@/auth?host=$RUN" | put "$DEV/auth-database.url")
}

# service_config NAME: what its example says, for this installation.
service_config() {
    local service=${1%-*}
    cat <<END
[http]
listen = "127.0.0.1:$(port "$1")"

[hsm]
identity = "$(<"$DEV/identity")"
endpoint = "https://127.0.0.1:$(port hsmd)"
log_file = "$DEV/$1-log.json"
batch = true

[hsm.tls]
ca_file = "$DEV/tls/ca.pem"
certificate_file = "$DEV/tls/$service.pem"
key_file = "$DEV/tls/$service.key"
server_name = "localhost"

[redis]
url = "unix://$RUN/redis.sock"
END
    [ "$service" != auth ] || printf '\n[database]\nurl_file = "%s"\n' "$DEV/auth-database.url"
}

service_ready() { curl -sf --max-time 5 "$(url "$1")/ready"; }

service_start() {
    case $1 in
    app-python) process_start "$1" "$TARGET/$1/venv/bin/python" -B "$ROOT/examples/$1/server.py" "$DEV/$1.json" ;;
    app-typescript) process_start "$1" env PATH="$TARGET/node/node_modules/.bin:$PATH" node "$TARGET/$1/examples/$1/dist/server.js" "$DEV/$1.json" ;;
    *) process_start "$1" "$BIN/hsmd-${1%-*}" --config "$DEV/$1.toml" ;;
    esac
}

fleet_up() {
    local name services=("${FLEET[@]:0:4}")
    redis_up
    auth_database
    for name in "${services[@]}"; do
        (umask 077 && service_config "$name" | put "$DEV/$name.toml")
        process_current "$name" "$BIN/hsmd-${name%-*}" || { process_stop "$name" && service_start "$name"; }
    done
    for name in "${services[@]}"; do
        wait_for 30 service_ready "$name" || process_failed "$name"
    done
}

fleet_down() {
    local name
    for name in "${FLEET[@]}" redis; do process_stop "$name"; done
}
