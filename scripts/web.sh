# The accounts page and the examples for web applications, in Chromium. Sourced by test.
# shellcheck shell=bash
# shellcheck disable=SC2153 # ROOT and TARGET come from lib.sh

WEB=$TARGET/web

# Copies, so that the tree stays clean.
web_install() {
    local npm=(npm --no-audit --no-fund --loglevel=error) folder
    node_for_typescript && rm -rf "$WEB" && mkdir -p "$WEB" &&
        (cd "$ROOT" && git ls-files -z examples tests/web | xargs -0 cp --parents -t "$WEB") || return
    for folder in examples/node examples/web tests/web; do
        (cd "$WEB/$folder" && "${npm[@]}" ci) || return
    done
    (cd "$WEB/examples/web" && npm run --silent build) &&
        python3 -m venv "$WEB/venv" &&
        "$WEB/venv/bin/pip" install --quiet --disable-pip-version-check -r "$WEB/examples/fastapi/requirements.txt"
}

# web_test: against the development installation whose `env` was sourced.
web_test() {
    web_install && cd "$WEB/tests/web" &&
        EXAMPLES=$WEB/examples PYTHON=$WEB/venv/bin/python node --test test-account.mjs test-examples.mjs
}
