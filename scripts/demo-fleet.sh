# The demo's second part: a user among the services. Sourced by scripts/demo.
# shellcheck shell=bash
# shellcheck disable=SC2154 # out comes from scripts/demo

device() { run hsmd-device --state "$out/$1.json" "${@:2}"; }

# Every run plays with people of its own.
rm -f "$out"/{phone,laptop,recovery,key-}*

step "8. A person makes an account on a phone; what the services reply counts only once it is verified"
device phone create --recovery "$out/recovery.json" | tee "$out/account"
identity=$(grep -o '"identity":"[^"]*' "$out/account" | cut -d '"' -f 4)

step "9. The phone begins a session and uses an application"
device phone session
device phone access

step "10. The session is refreshed, by the other replica of auth"
HSMD_AUTH_URL=$HSMD_AUTH_2_URL device phone refresh
device phone access

step "11. A second device is linked, and has a session of its own"
container=$(device laptop link-container --identity "$identity")
device phone link "$container"
device laptop session
device laptop access
