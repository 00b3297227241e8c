#!/usr/bin/env bash
# Fuzzes the code that reads untrusted input: the request pipeline of mcp-protocol, which must not panic, hang or answer
# 5xx, and the token file's two readers, which must agree.
#   fuzz.sh SECONDS [pipeline|token-file]     for that long, both in turn or one
# Findings are kept in the crate's folder fuzz: inputs worth keeping in corpus/, those that fail in artifacts/.
set -euo pipefail
usage='usage: fuzz.sh SECONDS [pipeline|token-file]'
seconds=${1:?$usage}
cargo_fuzz_version=0.13.2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$PWD/target/tools
PATH=$tools/bin:$PATH
if [ "$(cargo fuzz --version 2>/dev/null)" != "cargo-fuzz $cargo_fuzz_version" ]; then
    cargo install cargo-fuzz --quiet --locked --version "$cargo_fuzz_version" --root "$tools"
fi
target=$PWD/target/fuzz
for name in ${2:-pipeline token-file}; do
    case $name in
        pipeline) crate=crates/mcp-protocol ;;
        token-file) crate=crates/token-store ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    echo "== fuzzing $name for $seconds s"
    mkdir -p "$crate/fuzz/corpus/$name"
    # The instrumentation needs a nightly compiler's features; this enables them in the pinned one.
    (cd "$crate" && RUSTC_BOOTSTRAP=1 cargo fuzz run "$name" --target-dir "$target" "fuzz/corpus/$name" fuzz/seeds -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1)
done
echo "== nothing was found"
