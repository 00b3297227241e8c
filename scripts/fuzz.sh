#!/usr/bin/env bash
# Feeds the request pipeline of mcp-protocol what a fuzzer makes up; fails on a panic, a hang or an answer 5xx.
#   fuzz.sh SECONDS
# What it finds is kept in crates/mcp-protocol/fuzz: inputs worth keeping in corpus/, those that fail in artifacts/.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS}
cargo_fuzz_version=0.13.2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$PWD/target/tools
PATH=$tools/bin:$PATH
if [ "$(cargo fuzz --version 2>/dev/null)" != "cargo-fuzz $cargo_fuzz_version" ]; then
    cargo install cargo-fuzz --quiet --locked --version "$cargo_fuzz_version" --root "$tools"
fi
echo "== fuzzing the request pipeline for $seconds s"
target=$PWD/target/fuzz
cd crates/mcp-protocol
mkdir -p fuzz/corpus/pipeline
# The instrumentation is a feature of nightly compilers; this lets the pinned one do it, too.
RUSTC_BOOTSTRAP=1 cargo fuzz run pipeline --target-dir "$target" fuzz/corpus/pipeline fuzz/seeds -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1
echo "== nothing was found"
