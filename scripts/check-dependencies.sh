#!/usr/bin/env bash
# Checks the dependency rule of ARCHITECTURE.md with `cargo tree`:
#
#   model ← rails ← (streams, record) ← fleet ← recall ← worker binaries; text, vectors, calls and feeds on model alone,
#   outlets and providers on model and calls;
#   protocol on none of ours; no worker binary on another. Only streams knows Redis, only record knows PostgreSQL, model and
#   rails do no I/O.
#
# Development dependencies are free. `testkit`, `protocol`, `tests` and `bench` are in no shipped program: what they use is theirs.
set -euo pipefail
cd "$(dirname "$0")/.."

libraries="model rails streams record fleet recall text vectors calls outlets providers feeds"
workers="gateway planner etl embedding judge agent publisher"
faults=0

fault() { printf 'dependency rule: %s\n' "$*" >&2; faults=$((faults + 1)); }

# Names of what a crate depends on, itself among them; every feature counts. Read into a variable before it is looped
# over, so that a failing `cargo tree` ends the check instead of passing it.
tree() {
    cargo tree --quiet -p "tidemill-$1" --edges normal --all-features --prefix none --format '{p}' "${@:2}" |
        cut -d' ' -f1 | sort -u
}

# allowed CRATE OURS…: of our own crates it may name these and no other.
allowed() {
    local crate=$1 dependency name found
    shift
    found=$(tree "$crate" --depth 1)
    for dependency in $found; do
        case $dependency in
        "tidemill-$crate") ;;
        tidemill-*)
            name=${dependency#tidemill-}
            [[ " $* " == *" $name "* ]] || fault "$crate depends on $name; it may depend on: ${*:-none of ours}"
            ;;
        redis | deadpool-redis)
            [ "$crate" = streams ] || fault "$crate depends on $dependency; only streams knows Redis"
            ;;
        sqlx | sqlx-* | tokio-postgres)
            [ "$crate" = record ] || fault "$crate depends on $dependency; only record knows PostgreSQL"
            ;;
        esac
    done
}

# pure CRATE: nothing that does I/O, keeps time or draws at random, however deep.
pure() {
    local dependency found
    found=$(tree "$1")
    for dependency in $found; do
        case $dependency in
        tokio | mio | socket2 | reqwest | hyper | rand | redis | sqlx)
            fault "$1 is pure, and depends on $dependency"
            ;;
        esac
    done
}

allowed model
allowed local
allowed protocol
allowed rails model
for crate in text vectors calls feeds; do allowed "$crate" model; done
for crate in outlets providers; do allowed "$crate" model calls; done
for crate in streams record; do allowed "$crate" model rails; done
allowed fleet model rails streams record
allowed recall model record fleet vectors
# shellcheck disable=SC2086
for crate in $workers; do allowed "$crate" $libraries; done
# shellcheck disable=SC2086
allowed cli $libraries $workers local
pure rails

# TLS is rustls with ring: nothing that needs cmake or a system's library.
found=$(grep -oP '^name = "\K(aws-lc-.*|openssl(-sys|-src)?|native-tls)(?=")' Cargo.lock || true)
for dependency in $found; do fault "$dependency is in the tree; TLS is rustls with ring alone"; done

if [ "$faults" -gt 0 ]; then
    printf 'dependency rule: %s broken\n' "$faults" >&2
    exit 1
fi
echo "dependency rule: holds"
