#!/usr/bin/env bash
# Checks mcp-protocol against official schemas and tests that are not copied into this repository.
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

# What follows "$1" in the log. `read` fails on an unterminated line, as a program may write a line piece by piece.
address() { # $1: words before the address
    while IFS= read -r line; do
        case $line in *"$1 http"*) echo "${line##* }" && return ;; esac
    done <"$scratch/log"
}

# Starts a server in the background and sets `url` to what follows "$1" in its log.
start() { # $1: words before the address; then the command
    words=$1
    shift
    : >"$scratch/log" # here and not only by the server, or what the one before it wrote may be read
    "$@" >>"$scratch/log" 2>&1 &
    server=$!
    for _ in $(seq 600); do
        url=$(address "$words")
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    cat "$scratch/log" >&2
    echo "check-official: the server did not start: $*" >&2
    exit 1
}

stop_server() {
    kill "$server"
    wait "$server" || true
    server=
}

# The suite prints a line for each failing check, scored or not: "  REVISION scored|unscored SCENARIO: ...".
run_suite() { # $1: bearer token or nothing
    "$folder/tools/conformance" "$url" "$1" | tee "$scratch/said"
}

passes_everything() { # $1: bearer token or nothing
    run_suite "$1"
    if grep -E '^  ' "$scratch/said"; then
        echo "check-official: the suite found the failures above" >&2
        exit 1
    fi
}

# The suite's checks for a server that has none of its fixtures.
without_fixtures='server-initialize ping tools-list resources-list prompts-list caching dns-rebinding-protection
    sep-2164-resource-not-found server-sse-multiple-streams
    server-session-lifecycle server-sse-polling http-header-validation'

passes_without_fixtures() { # $1: bearer token
    # Scenarios of fixtures fail, so its own verdict says nothing; that it ran does.
    run_suite "$1" >/dev/null || true
    for revision in 2025-11-25 2026-07-28; do
        grep -q "^$revision: .* scored scenarios" "$scratch/said" || {
            echo "check-official: the suite did not run for $revision" >&2
            exit 1
        }
    done
    for scenario in $without_fixtures; do
        if grep -E "^  .* ($scenario:|did not run:.* $scenario( |\$))" "$scratch/said"; then
            echo "check-official: mcp-server fails the scenario $scenario" >&2
            exit 1
        fi
    done
    # Beside these, it fails for nothing but what is not there.
    if grep -E '^  [^ ]+ scored server-stateless:' "$scratch/said" | grep -v 'Not testable'; then
        echo "check-official: mcp-server fails the checks above" >&2
        exit 1
    fi
    echo "mcp-server: passes" $without_fixtures "and what can be tested of server-stateless"
}

start "listening on" "$program" --addr 127.0.0.1:0
passes_everything ""
stop_server
start "listening on" "$program" --addr 127.0.0.1:0 --bearer conformance-token
passes_everything conformance-token
refused=$(curl -fsS "${url%/mcp}/health" | sed -n 's/.*"refused":\([0-9]*\).*/\1/p')
[ "$refused" = 0 ] || { echo "check-official: the authenticated run met ${refused:-an unknown number of} 401" >&2; exit 1; }
stop_server

echo "== official conformance suite, mcp-server itself"
PG_BINDIR=$(scripts/setup-postgres.sh)
export PG_BINDIR
cargo build --locked --bins
mkdir "$scratch/data"
chmod 711 "$scratch" "$scratch/data"
start "Endpoint " "${CARGO_TARGET_DIR:-target}/debug/mcp-server" demo --data "$scratch/data/demo"
passes_without_fixtures "$(sed -n 's/^Token  *//p' "$scratch/log")"
stop_server
echo "== official checks passed"
