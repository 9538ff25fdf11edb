#!/usr/bin/env bash
# Builds the tools of `make audit` and `make sbom` that are missing, once; they are kept in a cache folder.
#
#   scripts/setup-tools.sh [cargo-deny] [cargo-cyclonedx] [helm] [schemas]     without a name: all
#
# cargo-deny takes some six minutes on two cores, cargo-cyclonedx two, Helm two. Helm needs a Go, which fetches the newer
# one that Helm asks for by itself; where there is none, it says so and goes on, and the chart is left out of the audit.
set -euo pipefail
# shellcheck source=scripts/installing.sh
. "$(dirname "$0")/installing.sh"

cargo_deny=0.20
cargo_cyclonedx=0.5
helm=3.22.0
# Schemas of Kubernetes come as a package of Python, those of KEDA in its Go module.
kubernetes_validate=1.37.0
keda=2.17.2

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill
export PATH=$PATH:/usr/local/go/bin

# A folder for each version: another one in this script is built anew.
build_crate() {
    local name=$1 version=$2 folder=$cache/$1-$2
    [ ! -x "$folder/bin/$name" ] || return 0
    say "building $name $version, once; this takes some minutes"
    # Its last release of that series; out of this workspace's target folder.
    env -u CARGO_TARGET_DIR cargo install --locked --quiet "$name" --version "^$version" --root "$folder" ||
        fail "$name could not be built; the lines above say why"
}

build_helm() {
    local folder=$cache/helm-$helm
    [ ! -x "$folder/helm" ] || return 0
    if ! has go; then
        say "left out: Helm (no Go; see https://go.dev/dl)"
        return 0
    fi
    say "building Helm $helm from its Go modules, once"
    env GOBIN="$folder.new" GOTOOLCHAIN=auto go install "helm.sh/helm/v3/cmd/helm@v$helm" ||
        fail "Helm could not be built; the lines above say why (Go modules come from $(go env GOPROXY))"
    # Moved when it is whole: a build that is broken off leaves nothing that looks like one.
    mkdir -p "$folder"
    mv "$folder.new/helm" "$folder/helm"
    rmdir "$folder.new"
}

fetch_schemas() {
    local folder=$cache/kubernetes-validate-$kubernetes_validate
    if [ ! -d "$folder" ]; then
        say "fetching the schemas of Kubernetes"
        python3 -m pip install --quiet --root-user-action=ignore --target "$folder.new" \
            "kubernetes-validate==$kubernetes_validate" || fail "kubernetes-validate could not be had from PyPI"
        mv "$folder.new" "$folder"
    fi
    folder=$cache/keda-$keda
    [ ! -d "$folder" ] || return 0
    if ! has go; then
        say "left out: the schemas of KEDA (no Go; see https://go.dev/dl)"
        return 0
    fi
    say "fetching the schemas of KEDA"
    local module
    module=$(cd / && go mod download -json "github.com/kedacore/keda/v2@v$keda" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    [ -n "$module" ] || fail "the Go module of KEDA could not be had"
    mkdir -p "$folder.new"
    cp "$module"/config/crd/bases/keda.sh_*.yaml "$folder.new"
    mv "$folder.new" "$folder"
}

for tool in "${@:-cargo-deny cargo-cyclonedx helm schemas}"; do
    for one in $tool; do
        case $one in
        cargo-deny) build_crate cargo-deny "$cargo_deny" ;;
        cargo-cyclonedx) build_crate cargo-cyclonedx "$cargo_cyclonedx" ;;
        helm) build_helm ;;
        schemas) fetch_schemas ;;
        *) fail "no tool is called $one" ;;
        esac
    done
done
