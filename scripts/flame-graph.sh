#!/usr/bin/env bash
# Draws where mcp-server's time goes while it answers calls: docs/flame-graph.svg.
#   flame-graph.sh [ROWS] [CONNECTIONS]        one row at 8 connections, if not said
# Needs perf, and the right to use it (root, or kernel.perf_event_paranoid at 1 at most).
set -euo pipefail
rows=${1:-1} connections=${2:-8}
inferno_version=0.12.8
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v perf >/dev/null; then
    echo "perf is missing; install it, for example with: apt-get install linux-perf" >&2
    exit 1
fi
tools=$PWD/target/tools
PATH=$tools/bin:$PATH
if ! cargo install --list --root "$tools" | grep -q "^inferno v$inferno_version:"; then
    cargo install inferno --quiet --locked --version "$inferno_version" --root "$tools"
fi
# Call stacks need frame pointers, which a usual build omits.
export RUSTFLAGS="-C force-frame-pointers=yes"
CARGO_TARGET_DIR=$PWD/target/flame cargo build --quiet --release --locked -p mcp-server
unset RUSTFLAGS
recorded=$PWD/target/flame/perf.data
bench/run --server target/flame/release/mcp-server --record "$recorded" --rows "$rows" --connections "$connections" --ms 5000
perf script --input "$recorded" --no-inline 2>/dev/null >target/flame/stacks
# What stands above these is the same for all: a thread of the runtime.
worker=tokio::runtime::scheduler::multi_thread::worker::Context
inferno-collapse-perf --skip-after "$worker::run_task" --skip-after "$worker::park_internal" \
    target/flame/stacks >target/flame/folded
inferno-flamegraph --title "mcp-server, calls of $rows row(s) at $connections connections" --minwidth 0.2 --countname ns \
    target/flame/folded >docs/flame-graph.svg
echo "docs/flame-graph.svg: $(wc -c <docs/flame-graph.svg) bytes"
