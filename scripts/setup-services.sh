#!/usr/bin/env bash
# Builds and installs the servers of `make test-services` that are missing. Quick and silent about what is there; safe to
# run again. The tests run private servers of their own: what the packages start is neither used nor needed.
set -euo pipefail

say() { printf 'setup-services: %s\n' "$*"; }
fail() { printf 'setup-services: %s\n' "$*" >&2; exit 69; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        has sudo || fail "$1 needs root: install sudo, or run as root: $*"
        sudo "$@"
    fi
}

# WordPress from Debian, with the database and the PHP that it needs.
install_wordpress() {
    local missing=()
    [ -e /usr/share/wordpress/wp-load.php ] || missing+=(wordpress)
    has mariadbd || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
    has mariadb || missing+=(mariadb-client)
    has php || missing+=(php-cli)
    has php && php -m | grep -qx mysqli || missing+=(php-mysql)
    [ "${#missing[@]}" -gt 0 ] || return 0
    has apt-get || fail "this is no Debian: install by hand what provides: ${missing[*]}"
    say "installing by apt: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

install_wordpress
say "everything needed is here (WordPress $(sed -n "s/^\$wp_version = '\(.*\)';/\1/p" /usr/share/wordpress/wp-includes/version.php))"
