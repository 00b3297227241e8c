#!/usr/bin/env bash
# Prints what names the functions of mcp-server: the compiler, and a digest of the crates that it is built of, with their
# versions and features. A profile that was made with others fits nothing that these renamed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rustc -V
# Without the folders, which are elsewhere for everybody.
cargo tree --locked --target x86_64-unknown-linux-gnu -p mcp-server -e normal,build --prefix none --format '{p} {f}' |
    sed 's| (/[^)]*)||' | LC_ALL=C sort -u | sha256sum | cut -d' ' -f1
