#!/usr/bin/env bash
# Holds the dependencies against deny.toml: licenses, bans and sources always, known vulnerabilities where their database
# can be reached. What is left out is said.
#
#   scripts/audit.sh sbom      writes the bill of materials of each program to target/sbom instead
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill
for folder in "$cache"/cargo-deny-*/bin "$cache"/cargo-cyclonedx-*/bin; do PATH=$folder:$PATH; done

audit() {
    cargo deny --locked check bans licenses sources
    # A database that cannot be had is no vulnerability, and says nothing against one.
    if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --locked check advisories
    else
        echo "audit: left out: advisories (their database, github.com/rustsec/advisory-db, cannot be reached)" >&2
    fi
}

sbom() {
    local crate
    mkdir -p target/sbom
    cargo cyclonedx --quiet --format json --describe binaries
    for crate in cli gateway planner etl embedding judge agent publisher; do
        mv crates/"$crate"/*.cdx.json target/sbom/
    done
    # Crates that are no program of their own have a bill as well; theirs is part of the programs'.
    find crates tests bench -name '*.cdx.json' -delete
    echo "sbom: $(find target/sbom -name '*.cdx.json' | wc -l) bills of materials (CycloneDX) in target/sbom"
}

case ${1:-} in
"") audit ;;
sbom) sbom ;;
*) echo "audit: write \`scripts/audit.sh\` or \`scripts/audit.sh sbom\`" >&2; exit 64 ;;
esac
