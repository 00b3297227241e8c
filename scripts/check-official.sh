#!/usr/bin/env bash
# Holds mcp-protocol against what others publish and what is not copied into this repository.
#   check-official.sh FOLDER
# FOLDER has `reference/schemas/REVISION.json`, the official schemas, and `tools/conformance URL [BEARER]`, which
# runs the official conformance suite (it installs the suite from npm).
set -euo pipefail
folder=$(cd "${1:?usage: check-official.sh FOLDER}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for needed in "$folder/reference/schemas/2026-07-28.json" "$folder/tools/conformance"; do
    [ -e "$needed" ] || { echo "check-official: $needed is missing" >&2; exit 1; }
done

echo "== official schemas"
MCP_SCHEMAS=$folder/reference/schemas cargo test --locked -p mcp-protocol --test schemas

echo "== official conformance suite"
cargo build --locked -p mcp-protocol --example conformance
program=${CARGO_TARGET_DIR:-target}/debug/examples/conformance
scratch=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT

# Starts the fixture server with some flags and sets `url`.
start() {
    "$program" --addr 127.0.0.1:0 "$@" 2>"$scratch/log" &
    server=$!
    for _ in $(seq 200); do
        url=$(sed -n 's/^listening on //p' "$scratch/log")
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    cat "$scratch/log" >&2
    echo "check-official: the fixture server did not start" >&2
    exit 1
}

# Scored and unscored scenarios count: any line of a failing check is a failure.
passes() { # $1: bearer token or nothing
    "$folder/tools/conformance" "$url" "$1" | tee "$scratch/said"
    if grep -E '^  ' "$scratch/said"; then
        echo "check-official: the suite found the failures above" >&2
        exit 1
    fi
}

start
passes ""
kill "$server"
wait "$server" || true
start --bearer conformance-token
passes conformance-token
refused=$(curl -fsS "${url%/mcp}/health" | sed -n 's/.*"refused":\([0-9]*\).*/\1/p')
[ "$refused" = 0 ] || { echo "check-official: the authenticated run met ${refused:-an unknown number of} 401" >&2; exit 1; }
echo "== official checks passed"
