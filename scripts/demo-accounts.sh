# The demo's chapter about accounts: a person signs up for a web application, a backend believes the token,
# and what a taint and a withdrawn key change. Sourced by scripts/demo at its end.
# shellcheck shell=bash
# shellcheck disable=SC2154 # out comes from scripts/demo
. "$ROOT/scripts/typescript.sh"
need npm
node_for_typescript

# browser PATH [BODY]: a page of the application in a browser, which keeps its cookie.
browser() {
    local posted=()
    [ $# = 1 ] || posted=(-H "content-type: application/json" --data "$2")
    curl -sS --fail-with-body --cookie "$out/cookies" --cookie-jar "$out/cookies" \
        -H "origin: $HSMD_ACCOUNTS_ORIGIN" "${posted[@]}" "$HSMD_ACCOUNTS_URL/api/auth$1"
}

# token NAME: a token of the session. A token is no argument: others could read it.
token() { browser /token | grep -o '"token":"[^"]*' | cut -d '"' -f 4 >"$out/$1" && [ -s "$out/$1" ]; }

# backend NAME: with which status the example's backend answers who shows it this token.
backend() {
    sed 's/^/authorization: Bearer /' "$out/$1" >"$out/header"
    curl -sS -o "$out/said" -w '%{http_code}' -H "@$out/header" "$address"
}
believed() { [ "$(backend "$1")" = 200 ]; }
refused() { [ "$(backend "$1")" = 401 ]; }

kids() { browser /jwks | grep -o '"kid":"[^"]*' | cut -d '"' -f 4 | sort; }

# Who asks for the list again and again, until there is a file "enough": each answer's status.
ask_for_keys() {
    until [ -e "$out/enough" ]; do
        curl -sS -o "$out/list" -w '%{http_code}\n' "$HSMD_ACCOUNTS_URL/api/auth/jwks"
    done
}
head_id() { hsmctl --output json status | grep -o '"head":{[^}]*' | grep -o '"id":"[^"]*' | cut -d '"' -f 4; }
endorsed_by_head() { browser /jwks | grep "\"generationId\":\"$(head_id)\""; }

step "18. A person signs up for a web application, by e-mail and password"
rm -f "$out"/{cookies,enough}
user="{\"name\":\"Ann\",\"email\":\"ann-$(date +%s%N)@example.com\",\"password\":\"correct horse\"}"
run browser /sign-up/email "$user"
wait_for 90 token old || die "there is no token"

step "19. A backend believes the session's token, by the published keys; offline it leads back to the HSM's identity"
mkdir -p "$out/backend" && cp "$ROOT"/examples/node/*.{json,mjs} "$out/backend"
(cd "$out/backend" && npm ci --no-audit --no-fund --loglevel=error)
node "$out/backend/server.mjs" "$HSMD_ACCOUNTS_URL" >"$out/address" &
serving=$!
trap 'touch "$out/enough"; kill $serving' EXIT
wait_for 20 grep http "$out/address" || die "the backend does not start"
address=$(<"$out/address")
believed old || die "the backend says $(<"$out/said")"
cat "$out/said"
log
browser /jwks >"$out/jwks.json"
run hsmctl verify --identity "$HSMD_IDENTITY" --log "$out/log.json" --jwks "$out/jwks.json" --jwt - <"$out/old"

step "20. The HSM's key is tainted: the list is withheld, the same keys come back, and no one signs in again"
before=$(kids)
ask_for_keys >"$out/statuses" &
asking=$!
run hsmctl taint --reason "the demo"
wait_for 30 endorsed_by_head || die "the keys do not come back"
touch "$out/enough"
wait $asking
uniq -c "$out/statuses"
[ "$(kids)" = "$before" ] || die "other keys came back"
wait_for 30 token new || die "there is no token"
for name in old new; do believed $name || die "the backend says of the $name token: $(<"$out/said")"; done

step "21. The services' keys are suspected: withdrawn, they are dead once the backend has asked again"
run hsmd-accounts --config "$DEV/accounts-1.toml" withdraw --all
withdrawn() { [ -z "$(comm -12 <(echo "$before") <(kids))" ]; }
wait_for 10 withdrawn || die "withdrawn keys are listed"
wait_for 90 token newer || die "there is no token"
# It asks half a minute after it last did, when it is shown a key that it does not know.
wait_for 60 believed newer || die "the backend says $(<"$out/said")"
for name in old new; do refused $name || die "the backend believes the $name token, whose key was withdrawn"; done
run browser /get-session
