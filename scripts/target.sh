# Where the operator's scripts act: options, and each deed for each target.
# Dev is scripts/dev's installation; systemd the units on this machine, with the paths of their packages;
# k8s the service hsmd and the deployments keys, auth, app, accounts and redis, as far as they are there, in
# the namespace HSMD_NAMESPACE.
# shellcheck shell=bash
# shellcheck disable=SC2034 # options are for the other files
for file in lib postgres process fleet accounts clients services accounts-operate steps; do
    # shellcheck source=/dev/null
    . "$(dirname "${BASH_SOURCE[0]}")/$file.sh"
done
# A checkout has a development installation, a package has units.
WHERE=systemd DRY='' YES='' REASON='' EXPECTED='' END_SESSIONS=''
[ ! -e "$ROOT/Cargo.toml" ] || WHERE=dev
# What --dry-run shows goes past all pipes.
exec 3>&1
# See ask, and kube in clients.sh.
FOREGROUND=yes LIMIT=''

# options "$@": the common ones. --reason stands in the record of what administrators did.
options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --target) WHERE=${2-} && shift ;;
        --reason) REASON=${2-} && shift ;;
        --expected) EXPECTED=${2-} && shift ;;
        --end-sessions) END_SESSIONS=yes ;;
        --dry-run) DRY=yes ;;
        --yes) YES=yes ;;
        *) usage ;;
        esac
        shift || usage
    done
    case $WHERE in dev | systemd | k8s) ;; *) usage ;; esac
    accepted expected "$EXPECTED" || usage
    accepted end-sessions "$END_SESSIONS" || usage
    [ -z "$EXPECTED" ] || [[ $EXPECTED =~ ^E[A-Za-z0-9_-]{43}$ ]] || usage
    [ "$WHERE" != dev ] || [ ! -d "$DEV" ] || find_place
}

# accepted OPTION VALUE: it was not given, or this script's usage names it.
accepted() { [ -z "$2" ] || usage_text | grep -q -e "--$1"; }

usage_text() { sed -n '/^#   /s/^# *//p' "$0"; }

usage() { usage_text >&2 && exit 64; }

# Dev needs an installation, with or without the services; the others are where they are.
installation_here() {
    [ "$WHERE" = dev ] || return 0
    [ -e "$DEV/env" ] || die "there is no installation in $DEV: run scripts/dev up"
    [ -e "$DEV/app.toml" ] || FLEET=() ACCOUNTS=()
    # shellcheck source=/dev/null
    . "$DEV/env"
}

# act COMMAND…: runs it; with --dry-run only shows it.
act() {
    if [ -z "$DRY" ]; then "$@"; else printf '%s\n' "$(quoted "$@")" >&3; fi
}

# quoted WORD…: as they are typed in a shell.
quoted() { printf '%q ' "$@" | sed 's/ $//'; }

# ask SECONDS COMMAND…: likewise, for at most so long: what does not answer must not hold up the rest. In the
# foreground, or Ctrl-C would not reach it. With FOREGROUND='' the command has a process group of its own: Ctrl-C
# does not reach it, and at the end of its time its children end with it, which could hold a pipe open.
ask() {
    if [ -z "$DRY" ]; then timeout ${FOREGROUND:+--foreground} -k 5 "$@"; else act "${@:2}"; fi
}
