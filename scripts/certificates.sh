# Certificates of a development installation, by which hsmd tells the services apart: all of them run as
# the same user. Sourced after lib.sh.
# shellcheck shell=bash

# A subshell for its umask and folder.
certificates_up() (
    umask 077
    mkdir -p "$DEV/tls"
    cd "$DEV/tls" || exit
    [ -s ca.pem ] || certificate ca -addext keyUsage=critical,keyCertSign
    [ -s hsmd.pem ] || certificate hsmd "${SIGNED[@]}" -addext subjectAltName=DNS:localhost
    local name
    for name in keys auth app app-python app-typescript accounts; do
        [ -s $name.pem ] ||
            certificate $name "${SIGNED[@]}" -addext subjectAltName=URI:spiffe://hsmd.dev/$name
    done
)

SIGNED=(-CA ca.pem -CAkey ca.key -addext "basicConstraints=critical,CA:FALSE")

# Only a finished certificate gets its name.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=hsmd development $1" -keyout "$1.key" -out "$1.new" "${@:2}" 2>/dev/null
    mv "$1.new" "$1.pem"
}
