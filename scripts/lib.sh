# Shared by the scripts: where things lie, building, waiting, the Python environment.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the paths are for the scripts that source this file
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that `scripts/dev` makes; another folder is another, separate installation.
DEV=${HSMD_DEV:-$ROOT/.dev}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
BIN=$TARGET/debug
VENV=$TARGET/venv

. "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

# A line for the person who watches; bold on a terminal.
say() {
    local format='%s\n'
    [ ! -t 2 ] || format='\033[1m%s\033[0m\n'
    # shellcheck disable=SC2059 # the format is one of the two above
    printf "$format" "$*" >&2
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Builds the commands. What is built with other flags is compiled again: `test` sets its own.
build() {
    local flags
    read -ra flags <<<"${HSMD_CARGO_FLAGS:---workspace --bins}"
    (cd "$ROOT" && cargo build --locked "${flags[@]}")
}

# cargo_tool NAME VERSION: a program from crates.io, installed below the build's folder, and in PATH.
cargo_tool() {
    local root=$TARGET/tools/$1-$2
    [ -x "$root/bin/$1" ] || {
        say "installing $1 $2 from crates.io" &&
            env -u RUSTC_WORKSPACE_WRAPPER cargo install --locked --quiet --root "$root" --version "$2" "$1"
    } || return
    PATH=$root/bin:$PATH
}

# wait_for SECONDS COMMAND…: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# The Python environment of tests/interop, made anew when its requirements change.
venv() {
    local wanted=$ROOT/tests/interop/requirements.txt
    ! cmp -s "$wanted" "$VENV/requirements.txt" || return 0
    say "making the Python environment in $VENV"
    rm -rf "$VENV" &&
        python3 -m venv "$VENV" &&
        "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" &&
        cp "$wanted" "$VENV/requirements.txt"
}
