#!/usr/bin/env bash
# Builds what `make test-services` runs against and no package has, once: it is kept in the cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill
target=${CARGO_TARGET_DIR:-$PWD/target}

say() { printf 'setup-services: %s\n' "$*"; }
fail() { printf 'setup-services: %s\n' "$*" >&2; exit 69; }

# The release before, from this repository's own history. Cargo would take its crates for the present ones, whose names
# they have, so it is built in a target folder of its own, which begins with the dependencies that are built already.
previous_release() {
    local commit folder work
    commit=$(grep -v '^#' tests/previous-release)
    folder=$cache/releases/$commit
    [ -d "$folder" ] && return
    git cat-file -e "$commit^{commit}" 2>/dev/null ||
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

previous_release
say "everything needed is here"
