# Where the operator's scripts act: options, and each deed for each target.
# Dev is scripts/dev's installation; systemd the units on this machine, with the paths of their packages;
# k8s the deployments hsmd, keys, auth, app and redis in the namespace HSMD_NAMESPACE.
# shellcheck shell=bash
# shellcheck disable=SC2034 # options are for the other files
for file in lib postgres process fleet clients services; do
    # shellcheck source=/dev/null
    . "$(dirname "${BASH_SOURCE[0]}")/$file.sh"
done
WHERE=dev DRY='' YES='' REASON=''
# What --dry-run shows goes past all pipes.
exec 3>&1

# options "$@": the common ones. --reason stands in the record of what administrators did.
options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --target) WHERE=${2-} && shift ;;
        --reason) REASON=${2-} && shift ;;
        --dry-run) DRY=yes ;;
        --yes) YES=yes ;;
        *) usage ;;
        esac
        shift || usage
    done
    case $WHERE in dev | systemd | k8s) ;; *) usage ;; esac
    [ "$WHERE" != dev ] || [ ! -d "$DEV" ] || find_place
}

usage() { sed -n '/^#   /s/^# *//p' "$0" >&2 && exit 64; }

# Dev needs its fleet; the others are where they are.
fleet_here() {
    [ "$WHERE" = dev ] || return 0
    [ -e "$DEV/app.toml" ] || die "there is no fleet in $DEV: run scripts/dev up --all"
    # shellcheck source=/dev/null
    . "$DEV/env"
}

# confirm QUESTION: goes on only if the person says yes.
confirm() {
    local answer=''
    [ -z "$YES$DRY" ] || return 0
    read -rp "$* [yes/no] " answer || true
    [ "$answer" = yes ] || die "nothing was done"
}

# act COMMAND…: runs it; with --dry-run only shows it.
act() {
    if [ -z "$DRY" ]; then "$@"; else printf '%s\n' "$(printf '%q ' "$@" | sed 's/ $//')" >&3; fi
}

# timed WHAT COMMAND…: runs it and says how long that took.
timed() {
    local what=$1 begun=${EPOCHREALTIME/./}
    shift
    "$@"
    [ -n "$DRY" ] || say "$what: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms"
}
