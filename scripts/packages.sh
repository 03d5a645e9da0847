# Debian packages that the scripts need: found, installed, or named. Sourced by lib.sh.
# shellcheck shell=bash

SOFTHSM_MODULE=/usr/lib/softhsm/libsofthsm2.so

# Where the Postgres programs are: newest version first; Debian keeps them out of PATH.
postgres_bin() {
    local newest
    newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
    [ -x "$newest" ] || newest=$(command -v postgres) || return 1
    dirname "$newest"
}

# The path of a library in the folder of this machine's kind.
library() { compgen -G "/usr/lib/*-linux-gnu/$1"; }

# Whether what a Debian package provides is here, also when it came from elsewhere.
has() {
    case $1 in
    build-essential) command -v cc ;;
    chromium-driver) command -v chromedriver ;;
    etcd-server) command -v etcd ;;
    haproxy) test -x /usr/sbin/haproxy ;;
    iproute2) command -v ip ;;
    libclang-dev) compgen -G '/usr/lib/llvm-*/lib/libclang.so*' ;;
    libsqlite3-dev) test -e /usr/include/sqlite3.h ;;
    libssl-dev) test -e /usr/include/openssl/evp.h ;;
    libnss3) test -n "$(library libsoftokn3.so)" ;;
    libnss3-tools) command -v certutil ;;
    libtpm2-pkcs11-1) test -n "$(library pkcs11/libtpm2_pkcs11.so)" ;;
    dbus) command -v dbus-daemon ;;
    libtss2-tcti-tabrmd0) test -n "$(library libtss2-tcti-tabrmd.so.0)" ;;
    libtss2-tcti-swtpm0) test -n "$(library libtss2-tcti-swtpm.so.0)" ;;
    opensc) command -v pkcs11-tool ;;
    p11-kit-modules) test -n "$(library pkcs11/p11-kit-client.so)" ;;
    postgresql) postgres_bin ;;
    python3-venv) python3 -c 'import ensurepip, venv' ;;
    softhsm2) test -e "$SOFTHSM_MODULE" ;;
    systemd) command -v systemd-analyze ;;
    systemd-container) command -v systemd-nspawn ;;
    *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

# need PACKAGE…: installs what is missing when root, says what is missing when not.
need() {
    local package missing=()
    command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
    for package in "$@"; do has "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "something is missing; run: sudo apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    install_quietly "${missing[@]}" >/dev/null
    disable_services "${missing[@]}"
    for package in "${missing[@]}"; do
        has "$package" || die "$package is installed, but what it provides can't be found"
    done
}

# Of these packages the tests need the programs only: their services do not start with the machine, either.
disable_services() {
    local package
    for package in "$@"; do
        case $package in
        etcd-server) systemctl --quiet disable etcd ;;
        haproxy | patroni) systemctl --quiet disable "$package" ;;
        esac
    done
}

# A subshell for its trap: while it runs, a policy keeps the packages from starting their services.
install_quietly() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --no-install-recommends "$@"
)
