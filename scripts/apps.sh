# The example applications in other languages beside services/app: installed where their runtime is, and run by
# `scripts/dev up --all`. Sourced by dev.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before

APPS=(app-python app-typescript)

# app_sources NAME: what the files are that it is made of.
app_sources() {
    local client=${1/app-/clients/}
    (cd "$ROOT" && find "$client" "examples/$1" \( -name node_modules -o -name dist -o -name __pycache__ \) -prune \
        -o -type f -exec sha256sum {} + | LC_ALL=C sort)
}

# app_installed NAME: in $TARGET/NAME, anew when its sources have changed.
app_installed() {
    local folder=$TARGET/$1 sources
    sources=$(app_sources "$1")
    [ "$sources" != "$(cat "$folder/sources" 2>/dev/null)" ] || return 0
    say "installing examples/$1 in $folder"
    rm -rf "$folder" && mkdir -p "$folder" && "install_${1/-/_}" "$folder" && echo "$sources" >"$folder/sources"
}

install_app_python() {
    has python3-venv && python3 -m venv "$1/venv" &&
        cp -r "$ROOT/clients/python" "$1/client" &&
        "$1/venv/bin/pip" install --quiet --disable-pip-version-check "$1/client" -r "$ROOT/examples/app-python/requirements.txt"
}

install_app_typescript() {
    local npm=(npm --no-audit --no-fund --loglevel=error) folder
    has npm && node_for_typescript && mkdir "$1/clients" "$1/examples" &&
        cp -r "$ROOT/clients/typescript" "$1/clients" && cp -r "$ROOT/examples/app-typescript" "$1/examples" || return
    for folder in clients/typescript examples/app-typescript; do
        (cd "$1/$folder" && "${npm[@]}" ci && "${npm[@]}" run --silent build) || return
    done
}

# app_config NAME: what its README says, for this installation.
app_config() {
    local name=server_name tls='"ca_file": "%s", "certificate_file": "%s", "key_file": "%s", "server_name": "localhost"'
    [ "$1" = app-python ] ||
        name=serverName tls='"tls": {"caFile": "%s", "certificateFile": "%s", "keyFile": "%s", "serverName": "localhost"}'
    # shellcheck disable=SC2059 # the format is one of the two above
    cat <<END
{
  "listen": "127.0.0.1:$(port "$1")",
  "$name": "${1#app-}",
  "hsm": {
    "identity": "$(<"$DEV/identity")",
    "endpoint": "https://127.0.0.1:$(port hsmd)",
    $(printf "$tls" "$DEV/tls/ca.pem" "$DEV/tls/$1.pem" "$DEV/tls/$1.key")
  },
  "redis": "unix://$RUN/redis.sock"
}
END
}

# app_current NAME: it runs, and neither its sources nor its configuration have changed.
app_current() {
    process_id "$1" >/dev/null && [ "$DEV/$1.pid" -nt "$DEV/$1.json" ] && [ "$DEV/$1.pid" -nt "$TARGET/$1/sources" ]
}

apps_up() {
    local name here=()
    for name in "${APPS[@]}"; do
        if app_installed "$name"; then
            here+=("$name")
            (umask 077 && app_config "$name" | put "$DEV/$name.json")
            app_current "$name" || { process_stop "$name" && service_start "$name"; }
        else
            process_stop "$name"
            rm -f "$DEV/$name.json"
            say "examples/$name is not run: it can't be installed here"
        fi
    done
    for name in "${here[@]}"; do wait_for 30 service_ready "$name" || process_failed "$name"; done
}

# To be sourced with the rest of what runs.
apps_env() {
    local name
    for name in "${APPS[@]}"; do
        [ ! -e "$DEV/$name.json" ] || echo "export HSMD_$(tr a-z- A-Z_ <<<"$name")_URL=$(url "$name")"
    done
}
