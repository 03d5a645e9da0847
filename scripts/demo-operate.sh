# The demo's third part: what an operator does while users go on, the red button first. Sourced by
# scripts/demo after demo-fleet.sh, whose phone and laptop it goes on with.
# shellcheck shell=bash
# shellcheck disable=SC2154 # out comes from scripts/demo

# timed_run SCRIPT…: runs one of the operator's scripts, which says of each step how long it took.
timed_run() {
    run "$@" 2>&1 | tee "$out/said"
    grep -q ': [0-9]* ms$' "$out/said" || die "$1 does not say how long it took"
}

# ask: a client that keeps asking, until there is a file "enough"; a line each: when, in microseconds, and
# what came of it.
ask() {
    until [ -e "$out/enough" ]; do
        if hsmd-device --state "$out/phone.json" access >/dev/null 2>"$out/refusal"; then
            echo "${EPOCHREALTIME/./} accepted"
        else
            echo "${EPOCHREALTIME/./} refused: $(<"$out/refusal")"
        fi
    done
}

# asked_since TIME: whether a request that was answered after it was accepted.
asked_since() { awk -v since="$1" '$1 > since && /accepted/ { yes = 1 } END { exit !yes }' "$out/asked"; }

step "12. The red button, while the phone keeps asking"
rm -f "$out/enough"
ask >"$out/asked" &
asking=$!
trap 'touch "$out/enough"' EXIT
wait_for 10 asked_since 0 || die "the phone is not served"
begun=${EPOCHREALTIME/./}
timed_run "$ROOT/scripts/red-button" --yes --reason "the demo"
wait_for 30 asked_since "${EPOCHREALTIME/./}" || die "the phone is not served again"
touch "$out/enough"
wait $asking
awk -v begun="$begun" '
    $1 <= begun { before++; next }
    /refused/ { refused++; first = 0; sub(/^[0-9]+ refused: /, ""); why[$0]++; next }
    { after++; if (!first) first = $1 }
    END {
        printf "accepted before: %d; refused: %d; then accepted again: %d\n", before, refused, after
        for (text in why) printf "  %d times %s\n", why[text], text
        printf "from the button to the first request accepted for good: %d ms\n", (first - begun) / 1000
    }' "$out/asked"

step "13. No session began anew: both devices go on with their sessions, endorsed by the next key"
device phone access
device laptop refresh
device laptop access

step "14. Everything published proves itself, offline too: the log, and each key in it now"
run curl -sS "$HSMD_KEYS_URL/hsm/keys" >"$out/log.json"
curl -sS "$HSMD_KEYS_URL/keys" >"$out/keys.json"
mapfile -t keys < <(grep -oE '"1AAI[^"]*":[{]"(body|payload)"' "$out/keys.json" | cut -d '"' -f 2)
[ ${#keys[@]} -ge 3 ] || die "three services have a key to reply with, published are ${#keys[@]}"
for number in "${!keys[@]}"; do
    curl -sS "$HSMD_KEYS_URL/keys/${keys[number]}" >"$out/key-$number.json"
done
verdict 0 "$out"/key-*.json
verdict 2 "$out/third.json"

step "15. Routine: the HSM's key is replaced, and no user notices"
timed_run "$ROOT/scripts/rotate-hsm-key" --reason "the demo"
device phone access
device laptop refresh

step "16. The services' own keys are suspected: they get new ones, and every session ends"
timed_run "$ROOT/scripts/purge-keys-and-roll-services" --yes
! device phone access || die "a token outlives the server key that signed it"
device phone session
device phone access

step "17. The identity is the same all the time: what verifiers are given"
run "$ROOT/scripts/export-hsm-identity"
[ "$(<"$ROOT/test-fixtures/hsm.id")" = "$HSMD_IDENTITY" ] || die "another identity"
