# What an operator's script does, step by step: what was done and what was not is said at the end, however
# the script ends. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before
TODO=() COMMANDS=() DONE=() BEGUN='' HINT='' UNKNOWN='' LATER=''

# plan WHAT COMMAND [WORD]: one more step, to be done after those before. From here on the end is reported.
plan() {
    TODO+=("$1")
    COMMANDS+=("${*:2}")
    trap report EXIT
    signals exit
}

# signals COMMAND: what a signal does, once the command before has ended: `exit` with the signal's exit code, or
# `later`, with which the step goes on to its end.
signals() {
    # shellcheck disable=SC2064 # expanded now
    trap "$1 129" HUP && trap "$1 130" INT && trap "$1 143" TERM
}

later() { LATER=$1; }

# again: the command that goes on after a failure. It has to reach the same installation.
again() {
    local name words=()
    for name in HSMD_DEV HSMD_NAMESPACE; do [ -z "${!name-}" ] || words+=("$name=${!name}"); done
    words+=("$0" --target "$WHERE" --reason "$REASON" --expected "$EXPECTED" ${END_SESSIONS:+--end-sessions})
    # Its words may be a password.
    echo "$(quoted "${words[@]}")${HSMD_REDIS_CLI:+ (with the same HSMD_REDIS_CLI)}"
}

# hint TEXT: said when only a part was done.
hint() { HINT=$1; }

# perform: does what is planned, and says how long each step took.
perform() {
    local begun command
    while [ ${#TODO[@]} -gt 0 ]; do
        begun=${EPOCHREALTIME/./}
        BEGUN=${TODO[0]}
        read -ra command <<<"${COMMANDS[0]}"
        "${command[@]}"
        DONE+=("$BEGUN") TODO=("${TODO[@]:1}") COMMANDS=("${COMMANDS[@]:1}")
        signals exit
        [ -z "$LATER" ] || exit "$LATER"
        [ -n "$DRY" ] || say "$BEGUN: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms"
        BEGUN=''
    done
}

# What a person has to know after a failure: half of the work must not pass for the whole.
report() {
    local code=$? what
    [ $code != 0 ] || return 0
    [ -n "$BEGUN${DONE[*]}" ] || { say "nothing was done" && return; }
    for what in "${DONE[@]}"; do say "done: $what"; done
    for what in "${TODO[@]}"; do
        if [ "$what" = "$BEGUN" ]; then say "${UNKNOWN:-NOT done}: $what (begun)"; else say "NOT done: $what"; fi
    done
    [ -z "$HINT" ] || say "$HINT"
}

# confirm QUESTION: goes on only if the person says yes.
confirm() {
    local answer=''
    [ -z "$YES$DRY" ] || return 0
    read -rp "$* [yes/no] " answer || true
    [ "$answer" = yes ] || die "not confirmed"
}
