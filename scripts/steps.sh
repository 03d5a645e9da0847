# What an operator's script does, step by step: what was done and what was not is said at the end, however
# the script ends. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before
TODO=() DONE=() BEGUN='' HINT=''

# plan STEP…: what is to be done, in this order. From here on the end is reported.
plan() {
    TODO=("$@")
    trap report EXIT
}

# hint TEXT: said when only a part was done.
hint() { HINT=$1; }

# step COMMAND…: does the first step that is left, and says how long it took.
step() {
    local what=${TODO[0]} begun=${EPOCHREALTIME/./}
    BEGUN=$what
    "$@"
    BEGUN=''
    DONE+=("$what")
    TODO=("${TODO[@]:1}")
    [ -n "$DRY" ] || say "$what: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms"
}

# What a person has to know after a failure: half of the work must not pass for the whole.
report() {
    local code=$? what
    [ $code != 0 ] || return 0
    [ -n "$BEGUN${DONE[*]}" ] || { say "nothing was done" && return; }
    for what in "${DONE[@]}"; do say "done: $what"; done
    for what in "${TODO[@]}"; do say "NOT done: $what$([ "$what" != "$BEGUN" ] || echo ' (begun)')"; done
    [ -z "$HINT" ] || say "$HINT"
}

# confirm QUESTION: goes on only if the person says yes.
confirm() {
    local answer=''
    [ -z "$YES$DRY" ] || return 0
    read -rp "$* [yes/no] " answer || true
    [ "$answer" = yes ] || die "not confirmed"
}
