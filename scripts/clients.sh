# hsmctl, redis-cli and kubectl as each target reaches them. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # names in capitals come from, or are for, the other files
NAMESPACE=${HSMD_NAMESPACE:-hsmd}
# shellcheck disable=SC2016 # expanded there
REDIS_IN_POD='REDISCLI_AUTH=$(cat /run/secrets/redis/password) exec redis-cli "$@"'

# At most LIMIT seconds, 30 by default.
kube() { ask "${LIMIT:-30}" kubectl --namespace "$NAMESPACE" "$@"; }

ctl() {
    case $WHERE in
    dev) ask 30 hsmctl "$@" ;;
    systemd) ask 30 hsmctl --endpoint unix:///run/hsmd/service.sock \
        --admin-endpoint unix:///run/hsmd/admin.sock "$@" ;;
    # Of a standby pair the service names the daemon that is ready.
    k8s) kube exec service/hsmd -- hsmctl "$@" ;;
    esac
}

# member NAME: the first value of that name in the JSON on standard input.
member() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# Ends before anything is done unless hsmd says that it can sign. The generation that signs is then in HEAD.
signing() {
    local status state problem
    status=$(ctl --output json status) || true
    [ -z "$DRY" ] || return 0
    state=$(member state <<<"$status") || die "hsmd does not answer, so new keys could not be endorsed"
    # A degraded daemon signs as long as it has an active generation: not while its token or its lock is away.
    HEAD=$(member activeGenerationId <<<"$status") || true
    if [[ $state =~ ^(serving|degraded)$ ]] && [ -n "$HEAD" ]; then return; fi
    problem=$(sed -nE 's/.*"problems":\["(([^"\\]|\\.)*)".*/: \1/p' <<<"$status")
    die "hsmd is $state and does not sign, so new keys could not be endorsed$problem"
}

# The head's id, to be named in what replaces it: a repetition must not replace the next one.
head_id() {
    local id
    # The log goes before the status: the daemon has both, and this is the public one.
    id=$(ctl --output json status | grep -o '"head":{[^}]*' | member id) || true
    [ -n "$DRY" ] || [ -n "$id" ] || die "hsmd does not answer or does not know its head: see hsmctl status"
    echo "${id:-HEAD}"
}

# change rotate|taint: replaces the generation EXPECTED, once, and leaves the new head's id in HEAD. A signal waits
# until hsmctl has its answer: without it, what was done would not be known.
change() {
    local answer code=0 options=(--expected "$EXPECTED" --reason "$REASON")
    # In the pod nothing else can be written to by a path that is known.
    [ "$WHERE $1" != 'k8s taint' ] || options+=(--event-file /tmp/hsmd-taint.json)
    [ -n "$DRY" ] || say "generation $EXPECTED is to be replaced"
    signals later
    UNKNOWN='NOT known to be done'
    answer=$(FOREGROUND='' ctl --output json "$1" "${options[@]}") || code=$?
    [ -z "$DRY" ] || return 0
    # With an event in the answer it is done, also when hsmctl could not write the event's file and failed.
    HEAD=$(member id <<<"$answer") || die "hsmctl $1 failed (exit code $code): see above"
    UNKNOWN=''
    [ $code = 0 ] || say "hsmctl could not write the event to a file: keep what it said above"
    keep_event "$(member eventFile <<<"$answer" || true)"
    # The event's text stands in the answer as a string.
    say "generation $HEAD signs now, its public key is $(grep -o 'publicKey\\":\\"[^\\]*' <<<"$answer" | cut -d '"' -f 3)"
    [[ $answer == *'"performed":true'* ]] || say "this had been done before; nothing was replaced now"
    [[ $answer != *'"keyDestroyed":false'* ]] ||
        say "the old key is NOT destroyed: the token refuses; destroy it with the vendor's tool (hsmctl status lists it until it is gone)"
}

# keep_event FILE: where an event is that the database does not have yet, if there is one.
keep_event() {
    [ -n "$1" ] || return 0
    say "the database does not have the event yet; keep it until hsmctl status says that it has:"
    if [ "$WHERE" != k8s ]; then
        say "$PWD/$1"
    else
        # The pod's file goes with the pod.
        kube exec service/hsmd -- cat "$1" >&2 || say "it can't be read from $1 in the pod"
        say ''
    fi
}

# The endorsed keys are in Redis 0 (access) and 1 (response). A command in HSMD_REDIS_CLI takes the place of
# all others: when it fails, another one would reach another Redis. A refusal by Redis is a failure, too (-e).
redis() {
    local url cli
    read -ra cli <<<"${HSMD_REDIS_CLI-}"
    if [ ${#cli[@]} -gt 0 ]; then
        FOREGROUND='' ask 10 "${cli[@]}" "$@"
        return
    fi
    case $WHERE in
    dev) ask 10 redis-cli -e -s "$RUN/redis.sock" "$@" ;;
    systemd)
        url=$(setting url "$(configured app auth keys)" unix:///run/redis/redis.sock)
        if [[ $url == unix://* ]]; then ask 10 redis-cli -e -s "${url#unix://}" "$@"; else ask 10 redis-cli -e -u "$url" "$@"; fi
        ;;
    # The pod knows its password.
    k8s) kube exec deployment/redis -- sh -c "$REDIS_IN_POD" redis-cli -e "$@" ;;
    esac
}

# redis_failed WHAT: ends with what may be missing.
redis_failed() { die "$1$([ -n "${HSMD_REDIS_CLI-}" ] || echo ' (HSMD_REDIS_CLI gives the command that reaches it)')"; }

# configured SERVICE…: the first that has a configuration on this machine.
configured() {
    local name
    for name in "$@"; do [ ! -e "/etc/hsmd/$name.toml" ] || { echo "$name" && return; }; done
}

# setting KEY SERVICE DEFAULT: what a unit's configuration says.
setting() {
    local value
    value=$(sed -n "s|^$1 *= *\"\(.*\)\".*|\1|p" "/etc/hsmd/$2.toml" 2>/dev/null | head -n 1)
    echo "${value:-$3}"
}
