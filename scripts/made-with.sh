#!/usr/bin/env bash
# Prints what determines the symbol names of mcp-server: the compiler, and a digest of its crates with their versions
# and features. A profile made with others does not match the functions whose names differ.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rustc -V
# Without the folders, which differ between machines.
cargo tree --locked --target x86_64-unknown-linux-gnu -p mcp-server -e normal,build --prefix none --format '{p} {f}' |
    sed 's| (/[^)]*)||' | LC_ALL=C sort -u | sha256sum | cut -d' ' -f1
