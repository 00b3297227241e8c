#!/bin/sh
# Installs the official MCP clients that the end-to-end tests drive, each at the version that its file pins.
#   setup-clients.sh FOLDER PYTHON
# Existing installations are kept.
set -eu
folder=${1:?usage: setup-clients.sh FOLDER PYTHON}
python=${2:?usage: setup-clients.sh FOLDER PYTHON}
cd "$(dirname "$0")/../tests/clients"
mkdir -p "$folder"

fail() {
    echo "setup-clients: $*" >&2
    exit 1
}

# Says whether the installation was made from exactly this file.
is_installed() { # $1: name; $2: the file that pins it
    [ -f "$folder/$1.pinned" ] && cmp -s "$2" "$folder/$1.pinned"
}

typescript() {
    is_installed typescript package-lock.json && return
    echo "== set-up: installing the official TypeScript clients"
    cp package.json package-lock.json "$folder/"
    (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts) ||
        fail "npm could not install tests/clients/package.json"
    cp package-lock.json "$folder/typescript.pinned"
}

python() { # $1: the file that pins one version
    name=$(basename "$1" .txt)
    is_installed "$name" "$1" && return
    echo "== set-up: installing the official Python client, $name"
    rm -rf "${folder:?}/$name"
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$folder/$name" --requirement "$1" ||
        fail "pip could not install tests/clients/$1"
    cp "$1" "$folder/$name.pinned"
}

rust() {
    echo "== set-up: building the official Rust client"
    cargo build --quiet --locked --manifest-path rmcp/Cargo.toml --target-dir "$folder/rmcp" ||
        fail "tests/clients/rmcp could not be built"
}

typescript
for pinned in python-mcp-*.txt; do python "$pinned"; done
rust
