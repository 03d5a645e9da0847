# What the operator's scripts do with the services and their keys. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before

# Where the services listen unless told otherwise, which in pods they are not.
declare -A PORTS=([keys]=8010 [auth]=8011 [app]=8020)

# What asks a pod from within, where neither a network policy nor a missing program stands in the way.
# shellcheck disable=SC2016 # expanded there
ASK='exec 3<>/dev/tcp/127.0.0.1/$0 && printf "GET /health HTTP/1.0\r\n\r\n" >&3 && tail -n 1 <&3'

# What every running service says of itself, a line each.
healths() {
    local name
    case $WHERE in
    dev) for name in "${FLEET[@]}"; do line act curl -sS "$(url "$name")/health"; done ;;
    systemd) for name in keys auth app; do
        act systemctl --quiet is-active "hsmd-$name" || continue
        line act curl -sS "http://$(setting listen "$name" "127.0.0.1:${PORTS[$name]}")/health"
    done ;;
    k8s) for name in $(pods); do
        line kube exec "$name" -- bash -c "$ASK" "${PORTS[${name%%-*}]}"
    done ;;
    esac
}

# A line in any case: a service that can't be asked must not look like one that is not there.
line() {
    local text
    text=$("$@") || true
    [ -n "$DRY" ] || echo "$text"
}

pods() {
    local list=(get pods --selector 'app.kubernetes.io/name in (keys, auth, app)'
        --field-selector status.phase=Running --output 'jsonpath={.items[*].metadata.name}')
    if [ -n "$DRY" ]; then kube "${list[@]}" && echo auth-POD; else kube "${list[@]}"; fi
}

# Whether each service follows HEAD, and each key it has is published as endorsed by HEAD.
all_hold_endorsements() {
    local health database key all
    all=$(healths)
    [ -n "$all" ] || return 1
    while read -r health; do
        [[ $health == *'"status":"healthy"'* && $health == *"Id\":\"$HEAD\""* ]] || return 1
        for database in 0:accessKey 1:responseKey; do
            key=$(grep -o "\"${database#*:}\":\"[^\"]*" <<<"$health" | cut -d '"' -f 4) || continue
            [[ $(redis -n "${database%:*}" get "$key") == *"\"generationId\":\"$HEAD\""* ]] || return 1
        done
    done <<<"$all"
}

wait_endorsed() {
    if [ -n "$DRY" ]; then healths; else
        wait_for 60 all_hold_endorsements || die "not every service holds new endorsed keys after a minute"
    fi
}

# Restarts what has keys, one after the other: each process makes new ones.
roll() {
    local name
    case $WHERE in
    systemd) act systemctl start hsmd-rolling-restart.service ;;
    k8s)
        kube rollout restart deployment/auth deployment/app
        for name in auth app; do kube rollout status --timeout 5m "deployment/$name"; done
        ;;
    dev) for name in "${FLEET[@]:1}"; do
        act process_stop "$name" && act service_start "$name"
        [ -n "$DRY" ] || wait_for 30 service_ready "$name" || process_failed "$name"
    done ;;
    esac
}
