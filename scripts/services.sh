# What the operator's scripts do with the services and their keys. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before

# Where the services listen unless told otherwise, which in pods they are not.
declare -A PORTS=([keys]=8010 [auth]=8011 [app]=8020 [accounts]=8031)

# What shows their keys.
declare -A PATHS=([accounts]=/health/key)

# How long every service together has for its new endorsed keys, in seconds.
ENDORSED_WITHIN=${HSMD_ENDORSED_WITHIN:-60}

# HOST PORT PATH: asks over plain HTTP and needs no other program. In a pod it asks from within, where no network
# policy stands in the way.
# shellcheck disable=SC2016 # expanded there
ASK='exec 3<>"/dev/tcp/$0/$1" && printf "GET $2 HTTP/1.0\r\n\r\n" >&3 && exec tail -n 1 <&3'

# The services that should run, and whether there is a Redis with their keys.
SERVICES=() REDIS=''

# Finds both. What can't be asked counts as there: it fails at its step.
find_services() {
    local name list
    case $WHERE in
    dev) SERVICES=("${FLEET[@]}" "${ACCOUNTS[@]}") ;;
    # What was stopped and disabled in an incident has left its keys.
    systemd)
        for name in keys auth app accounts; do ! installed "hsmd-$name" || SERVICES+=("$name"); done
        REDIS=$(configured app auth keys)
        ;;
    # The same for what is scaled to none.
    k8s)
        list=$(kube get deployments --output 'jsonpath={range .items[*]}{.metadata.name}={.spec.replicas} {end}') && [ -z "$DRY" ] ||
            list='keys=1 auth=1 app=1 accounts=1'
        list=" $list"
        for name in keys auth app accounts; do
            [[ $list != *" $name="[1-9]* ]] || SERVICES+=("$name")
            [[ $list != *" $name="* ]] || [ "$name" = accounts ] || REDIS=yes
        done
        ;;
    esac
    for name in "${SERVICES[@]}"; do [[ $name == accounts* ]] || REDIS=yes; done
    REDIS=${HSMD_REDIS_CLI:-$REDIS}
    [ ${#SERVICES[@]} -gt 0 ] || say "no service runs here"
    [ -n "$REDIS" ] || say "no service here uses Redis"
}

# Those that have keys of their own, which a restart replaces.
with_keys() { printf '%s\n' "${SERVICES[@]}" | grep -v '^keys'; }

# What every service that should run says of itself: its name, a blank, its answer or nothing.
healths() {
    local name names where host
    case $WHERE in
    dev) for name in "${SERVICES[@]}"; do
        line "$name" ask 5 bash -c "$ASK" 127.0.0.1 "$(port "$name")" "$(asked "$name")"
    done ;;
    systemd) for name in "${SERVICES[@]}"; do
        where=$(setting listen "$name" "127.0.0.1:${PORTS[$name]}")
        host=${where%:*}
        line "$name" ask 5 bash -c "$ASK" "${host//[][]/}" "${where##*:}" "$(asked "$name")"
    done ;;
    k8s)
        names=$(pods) || die "the pods can't be listed"
        for name in $names; do
            LIMIT=5 line "$name" kube exec "$name" -- bash -c "$ASK" 127.0.0.1 "${PORTS[${name%%-*}]}" "$(asked "$name")"
        done
        # No pod runs, so none answers.
        for name in "${SERVICES[@]}"; do [[ " $names" == *" $name-"* ]] || line "$name" true; done
        ;;
    esac
}

# asked NAME: the path under which this one says of its keys what is to be known.
asked() { echo "${PATHS[${1%%-*}]:-/health}"; }

# A unit that failed is enabled still, and one that was started by hand is active. When systemd can't be asked, it
# counts as there; `is-enabled` ends with 1 then, as for a unit that is not there.
installed() {
    local state
    state=$(ask 10 systemctl show --property=ActiveState,UnitFileState "$1") && [ -z "$DRY" ] || return 0
    [[ $state != *ActiveState=@(inactive|failed)* || $state == *UnitFileState=enabled* ]]
}

# A line in any case: a service that can't be asked must not look like one that is not there.
line() {
    local name=$1 text
    shift
    text=$("$@" 2>/dev/null) || true
    [ -n "$DRY" ] || echo "$name $text"
}

pods() {
    local list=(get pods --selector 'app.kubernetes.io/name in (keys, auth, app, accounts)'
        --field-selector status.phase=Running --output 'jsonpath={.items[*].metadata.name}')
    if [ -n "$DRY" ]; then kube "${list[@]}" && echo auth-POD; else kube "${list[@]}"; fi
}

# lacking NAME HEALTH: what keeps this service from holding keys that HEAD endorses; nothing if it does.
lacking() {
    local database key text
    [ -n "$2" ] || { echo "$1 (no answer)" && return; }
    if [[ $1 == accounts* ]]; then
        [[ $2 == *"\"generationId\":\"$HEAD\""* ]] || echo "$1 (its key is not published as endorsed by the new one)"
        return
    fi
    [[ $2 == *'"status":"healthy"'* ]] || { echo "$1 (not healthy)" && return; }
    [[ $2 == *"Id\":\"$HEAD\""* ]] || { echo "$1 (has not seen the new key)" && return; }
    for database in 0:accessKey 1:responseKey; do
        key=$(member "${database#*:}" <<<"$2") || true
        [ -n "$key" ] || continue
        text=$(redis -n "${database%:*}" get "$key" 2>/dev/null) ||
            { echo "$1 (Redis can't be asked; HSMD_REDIS_CLI gives the command that reaches it)" && return; }
        [[ $text == *"\"generationId\":\"$HEAD\""* ]] || echo "$1 (its key is not published as endorsed by the new one)"
    done
}

# Until each service follows HEAD, and each key it has is published as endorsed by HEAD.
wait_endorsed() {
    local name health all missing begun=$SECONDS
    if [ -n "$DRY" ]; then healths && return; fi
    while :; do
        all=$(healths)
        missing=()
        while read -r name health; do
            mapfile -t -O ${#missing[@]} missing < <(lacking "$name" "$health")
        done <<<"$all"
        [ ${#missing[@]} -gt 0 ] || return 0
        [ $((SECONDS - begun)) -lt "$ENDORSED_WITHIN" ] || break
        sleep 0.2
    done
    # A round that asks what does not answer may take longer than the limit.
    die "after $((SECONDS - begun)) s without new endorsed keys: $(IFS=, && echo "${missing[*]}")"
}

# Restarts what has keys, one after the other: each process makes new ones.
roll() {
    local name names
    case $WHERE in
    systemd)
        ask 320 systemctl start hsmd-rolling-restart.service || {
            # Its last words name the unit.
            ask 10 journalctl --no-pager --output cat --lines 4 --unit hsmd-rolling-restart.service >&2 || true
            die "a unit did not come back: journalctl -u hsmd-rolling-restart"
        }
        # It leaves out a unit that does not run.
        for name in $(with_keys); do
            ask 10 systemctl --quiet is-active "hsmd-$name" ||
                die "hsmd-$name does not run, so it was not restarted: systemctl restart hsmd-$name"
        done
        ;;
    k8s)
        mapfile -t names < <(with_keys)
        kube rollout restart "${names[@]/#/deployment/}"
        for name in "${names[@]}"; do LIMIT=310 kube rollout status --timeout 5m "deployment/$name"; done
        ;;
    dev)
        for name in "${FLEET[@]:1}"; do
            act process_stop "$name" && act service_start "$name"
            [ -n "$DRY" ] || wait_for 30 service_ready "$name" || die "$name is not ready half a minute after its restart: see $DEV/$name.log"
        done
        roll_accounts
        ;;
    esac
}
