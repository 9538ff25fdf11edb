#!/usr/bin/env bash
# Builds and installs the servers of `make test-services` that are missing. Quick and silent about what is there; safe to
# run again. The tests run private servers of their own: what the packages start is neither used nor needed.
#
# Weaviate is built from its Go modules, once, into ${XDG_CACHE_HOME:-~/.cache}/tidemill: some 4 minutes on two cores, 170 MB.
# That takes a Go of 1.21 or newer, which fetches the newer one that Weaviate asks for by itself. An installed one is used;
# else Debian's, where it is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

weaviate=1.35.2
minimum_go=1.21

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill
target=${CARGO_TARGET_DIR:-$PWD/target}

# WordPress from Debian, with the database and the PHP that it needs.
install_wordpress() {
    local missing=()
    [ -e /usr/share/wordpress/wp-load.php ] || missing+=(wordpress)
    has mariadbd || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
    has mariadb || missing+=(mariadb-client)
    has php || missing+=(php-cli)
    has php && php -m | grep -qx mysqli || missing+=(php-mysql)
    install_by_apt "${missing[@]}"
}

# The official packages put it there and leave PATH to their user.
find_go() {
    has go || ! [ -x /usr/local/go/bin/go ] || PATH=$PATH:/usr/local/go/bin
    has go
}

new_enough() { printf '%s\n%s\n' "$minimum_go" "$1" | sort -C -V; }

install_go() {
    find_go && return
    has apt-get || fail "this is no Debian: install Go $minimum_go or newer by hand (https://go.dev/dl)"
    apt_get update
    local offered
    offered=$(apt-cache policy golang-go | sed -n 's/^ *Candidate: *[0-9]*:\?\([0-9.]*\).*/\1/p')
    [ -n "$offered" ] || fail "no Go is installed and apt has none: install Go $minimum_go or newer (https://go.dev/dl)"
    new_enough "$offered" || fail "no Go is installed and apt has only $offered: install Go $minimum_go or newer (https://go.dev/dl)"
    install_by_apt golang-go
    find_go || fail "golang-go was installed, and there is no go"
}

build_weaviate() {
    local folder=$cache/weaviate-$weaviate
    [ ! -x "$folder/weaviate-server" ] || return 0
    install_go
    local version
    version=$(go env GOVERSION)
    new_enough "${version#go}" || fail "$(command -v go) is $version: Go $minimum_go or newer is needed"
    say "building Weaviate $weaviate from its Go modules, once; this takes some minutes"
    mkdir -p "$folder.new"
    # An older Go fetches the one that Weaviate asks for, unless it was told not to.
    env GOBIN="$folder.new" GOTOOLCHAIN=auto \
        go install "github.com/weaviate/weaviate/cmd/weaviate-server@v$weaviate" ||
        fail "Weaviate could not be built; the lines above say why (Go modules come from $(go env GOPROXY))"
    # Moved when it is whole: a build that is broken off leaves nothing that looks like one.
    mkdir -p "$folder"
    mv "$folder.new/weaviate-server" "$folder/weaviate-server"
    rmdir "$folder.new"
}

# The release before, from this repository's own history. Cargo would take its crates for the present ones, whose names
# they have, so it is built in a target folder of its own, which begins with the dependencies that are built already.
previous_release() {
    local commit folder work
    commit=$(grep -v '^#' tests/previous-release)
    folder=$cache/releases/$commit
    [ -d "$folder" ] && return
    # A shallow clone lacks it.
    git cat-file -e "$commit^{commit}" 2>/dev/null || git fetch --quiet --depth 1 origin "$commit" ||
        fail "the clone lacks commit $commit, whose programs are tested beside the present ones: run \`git fetch --unshallow\`"
    say "building the release before ($commit)"
    mkdir -p "$cache/releases" "$target"
    work=$(mktemp -d "$target/previous-release.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/source" "$work/target/debug" "$work/programs"
    git archive "$commit" | tar -x -C "$work/source"
    local part program
    for part in deps build .fingerprint; do
        [ ! -d "$target/debug/$part" ] || cp -al "$target/debug/$part" "$work/target/debug"
    done
    find "$work/target/debug" -mindepth 2 -maxdepth 2 -name '*tidemill*' -exec rm -rf {} +
    (cd "$work/source" && CARGO_TARGET_DIR=$work/target cargo build --locked --workspace --bins)
    for program in tidemill tidemill-{gateway,planner,etl,embedding,judge,publisher}; do
        strip --strip-debug -o "$work/programs/$program" "$work/target/debug/$program"
    done
    # Whole or not at all: an interrupted build leaves nothing that looks finished.
    rm -rf "$folder.new"
    cp -r "$work/programs" "$folder.new" && mv "$folder.new" "$folder"
}

install_wordpress
build_weaviate
previous_release
wordpress=$(sed -n "s/^\$wp_version = '\(.*\)';/\1/p" /usr/share/wordpress/wp-includes/version.php)
say "everything needed is here (WordPress $wordpress, Weaviate $weaviate)"
