# What the scripts that install share; they source it. Messages begin with the name of the script that runs.

said_by=${0##*/}
said_by=${said_by%.sh}

say() { printf '%s: %s\n' "$said_by" "$*"; }
# 69: a service is missing or unfit.
fail() { printf '%s: %s\n' "$said_by" "$*" >&2; exit 69; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        has sudo || fail "$1 needs root: install sudo, or run as root: $*"
        sudo "$@"
    fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"; }

# install_by_apt [PACKAGE…]: nothing to do where none is named.
install_by_apt() {
    [ "$#" -gt 0 ] || return 0
    has apt-get || fail "this is no Debian: install by hand what provides: $*"
    say "installing by apt: $*"
    apt_get update
    apt_get install -y --no-install-recommends "$@"
}
