# The parts of a release: the archive, what is built from it, the SBOMs. Sourced by scripts/release.
# shellcheck shell=bash
# shellcheck disable=SC2154 # version, name, commit, profile come from there

# The sources, as the commit has them, whatever is checked out meanwhile.
archive() {
    git archive --format=tar --prefix="$name/" "$commit" | gzip --no-name --best >"$1"
}

# make_from ARCHIVE FOLDER TARGET: unpacks and builds; where that was does not stand in the programs.
make_from() {
    local archive=$1 to=$2 target=$3 source=$2.source
    mkdir -p "$source" "$to"
    tar --extract --file "$archive" --directory "$source"
    (
        export CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0
        export RUSTFLAGS="--remap-path-prefix=$source/$name=/hsmd --remap-path-prefix=$target=/target \
            --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        unset RUSTC_WORKSPACE_WRAPPER
        cd "$source/$name" || exit
        if [ "$profile" = --debug ]; then set -- --debug; else set --; fi
        HSMD_CARGO_FLAGS='--workspace --bins' scripts/package "$@" "$to/hsmd_$version-1_$(dpkg --print-architecture).deb"
    )
    boms "$source/$name" "$to"
}

# An SBOM for each program, without what changes from build to build.
boms() {
    local program
    cargo_tool cargo-cyclonedx 0.5.9 || die "cargo-cyclonedx can't be installed"
    (cd "$1" && cargo cyclonedx --quiet --format json --describe binaries --spec-version 1.5 --target all)
    for program in hsmd hsmctl hsmd-softhsm hsmd-keys hsmd-auth hsmd-app hsmd-accounts hsmd-gateway; do
        python3 "$1/packaging/sbom.py" "$(find "$1" -name "${program}_bin.cdx.json" -print -quit)" \
            >"$2/$program-$version.cdx.json" || die "there is no SBOM of $program"
    done
}
