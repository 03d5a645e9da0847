# Node, and the TypeScript client as others get it: built, packed, installed. Sourced by dev and test.
# shellcheck shell=bash
# shellcheck disable=SC2153 # ROOT and TARGET come from lib.sh

TYPESCRIPT=$TARGET/typescript

# The client runs on Node 20.3 and newer (AbortSignal.any), Debian 12 has 18: npm's package `node` carries 20.
node_for_typescript() {
    ! node --eval 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 3) ? 0 : 1)' ||
        return 0
    [ -x "$TARGET/node/node_modules/.bin/node" ] ||
        npm install --silent --no-audit --no-fund --prefix "$TARGET/node" node@20 || return
    PATH=$TARGET/node/node_modules/.bin:$PATH
}

# Builds a copy, so that the tree stays clean; installs what `npm pack` made of it.
typescript_build() {
    local source=$TYPESCRIPT/source installed=$TYPESCRIPT/installed
    local npm=(npm --no-audit --no-fund --loglevel=error)
    node_for_typescript &&
        rm -rf "$TYPESCRIPT" && mkdir -p "$installed" &&
        (cd "$ROOT" && git ls-files -z clients/typescript | xargs -0 cp --parents -t "$TYPESCRIPT") &&
        mv "$TYPESCRIPT/clients/typescript" "$source" &&
        (cd "$source" && "${npm[@]}" ci && "${npm[@]}" run --silent build && "${npm[@]}" pack --silent) &&
        echo '{"private":true,"type":"module"}' >"$installed/package.json" &&
        (cd "$installed" && "${npm[@]}" install --silent "$source"/*.tgz) &&
        cp -r "$source/node_modules/jose" "$installed/node_modules" &&
        cp "$source"/tests/*.mjs "$installed"
}

# The script of the keys service's page is what is checked in.
typescript_page() {
    (cd "$TYPESCRIPT/source" && npm run --silent page) | diff "$ROOT/services/keys/assets/keylog.js" - ||
        die "services/keys/assets/keylog.js is not what clients/typescript makes: see its README"
}

# typescript_test FILE…: against the installed package.
typescript_test() {
    node_for_typescript && (cd "$TYPESCRIPT/installed" && HSMD_VECTORS=$ROOT/chain/tests node --test "$@")
}

# The interface, held to proto/buf.yaml.
lint_proto() { "$TYPESCRIPT/source/node_modules/.bin/buf" lint "$ROOT/proto"; }

typescript_client() {
    typescript_build && typescript_page && typescript_test test-formats.mjs test-http.mjs test-token.mjs
}
