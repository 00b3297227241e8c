#!/usr/bin/env bash
# Makes bench/mcp-server.profdata anew, which `./run build` compiles with: which functions and branches the benchmark's
# calls take, and how often. It applies to the sources and the compiler that it was made with; code changed since then
# is compiled without a profile.
# Needs llvm-profdata of the compiler's LLVM or a newer one; LLVM_PROFDATA may name it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
installed=$(rustc --print target-libdir)/../bin/llvm-profdata
for tool in "${LLVM_PROFDATA:-}" "$installed" "/usr/lib/llvm-$llvm/bin/llvm-profdata"; do
    [ ! -x "$tool" ] || break
done
if [ ! -x "$tool" ]; then
    echo "llvm-profdata is missing; install it, for example with: rustup component add llvm-tools" >&2
    exit 1
fi
target=$PWD/target/profile
counts=$target/counts
# With --target, or in another kind of build, Cargo gives symbols other names, and the profile would match nothing.
RUSTFLAGS="-Cprofile-generate=$counts" CARGO_TARGET_DIR=$target \
    cargo build --release --locked -p mcp-server -p mcp-token
# The counts of build scripts and macros.
rm -rf "$counts"
bench/run --server "$target/release/mcp-server" --rounds 1 --policies
bench/run --server "$target/release/mcp-server" --rounds 1 --rows 1 --connections 8 --new-texts
# Functions that were never called are left out: these are compiled as usual, not as what nobody needs. So is one that
# the compiler would warn of, which is only called where something is dropped half way.
"$tool" merge --sparse --no-function=dying_next --output bench/mcp-server.profdata "$counts"/*.profraw
scripts/made-with.sh >bench/mcp-server.profdata.made-with
"$tool" show bench/mcp-server.profdata
