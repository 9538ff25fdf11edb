#!/usr/bin/env bash
# Checks the files of deploy/, docker-compose.yml and docs/runbook.md with the tools that are there; says what it left out.
#
#   scripts/check-deploy.sh [--install] [METRICS…]
#   scripts/check-deploy.sh chart
#
# --install first installs what is missing of Debian's docker-compose, prometheus and systemd by apt. METRICS are files
# with what a running process serves under /metrics; each is checked too. Helm and the schemas are used where
# scripts/setup-tools.sh has put them, or Helm is installed; `chart` checks the chart alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

programs="gateway planner etl embedding judge agent publisher"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill
for folder in "$cache"/helm-*; do PATH=$PATH:$folder; done
faults=0 left_out=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fault() { printf 'deploy: %s\n' "$*" >&2; faults=$((faults + 1)); }
left_out() { printf 'deploy: left out: %s\n' "$*" >&2; left_out=$((left_out + 1)); }

# check WHAT COMMAND…: a fault, with what it said, where the command fails.
check() {
    local what=$1
    shift
    "$@" >"$work/said" 2>&1 && return
    fault "$what"
    sed 's/^/    /' "$work/said" >&2
}

# same WHAT ONE OTHER: a fault for each line of a sorted file that the other one lacks.
same() {
    local line
    while IFS= read -r line; do fault "$1 differ in: $line"; done < <(comm -3 "$2" "$3" | tr -d '\t')
}

install_packages() {
    local missing=()
    has docker-compose || missing+=(docker-compose)
    has promtool || missing+=(prometheus)
    has systemd-analyze || missing+=(systemd)
    install_by_apt "${missing[@]}"
}

compose() {
    has docker-compose || { left_out "docker-compose.yml (no docker-compose)"; return 0; }
    check "docker-compose.yml" docker-compose config --quiet
}

units() {
    has systemd-analyze || { left_out "deploy/systemd (no systemd)"; return 0; }
    # The units name programs that are not installed here: stand-ins take their place.
    mkdir -p "$work/bin" "$work/units"
    cp -r deploy/systemd/. "$work/units"
    sed -i "s|/usr/local/bin/|$work/bin/|" "$work"/units/*.service
    local program unit
    ln -s /bin/true "$work/bin/tidemill"
    for program in $programs; do
        ln -s /bin/true "$work/bin/tidemill-$program"
        [ -f "deploy/systemd/tidemill-$program@.service" ] || fault "no unit for $program"
    done
    for unit in "$work"/units/*.service "$work"/units/*.target; do
        check "${unit##*/}" env SYSTEMD_UNIT_PATH="$work/units:" \
            systemd-analyze verify --man=no --recursive-errors=no "$unit"
    done
    for unit in "$work"/units/*.service; do
        check "${unit##*/} is exposed" env SYSTEMD_UNIT_PATH="$work/units:" \
            systemd-analyze security --no-pager --offline=true --threshold=15 "$unit"
    done
}

# rendered WHAT FLAGS…: the chart with these flags is rendered, and its objects hold against schemas where those are there.
rendered() {
    local what=$1 before=$faults
    shift
    check "$what" helm template tidemill deploy/kubernetes "$@"
    [ "$faults" -eq "$before" ] || return 0
    if [ -n "$(compgen -G "$cache/kubernetes-validate-*")" ] && [ -n "$(compgen -G "$cache/keda-*")" ]; then
        cp "$work/said" "$work/objects"
        check "$what, by the schemas" scripts/check-objects.py "$cache" <"$work/objects"
    else
        left_out "$what, by the schemas (scripts/setup-tools.sh schemas)"
    fi
}

chart() {
    has helm || { left_out "deploy/kubernetes (no helm; scripts/setup-tools.sh helm)"; return 0; }
    check "helm lint" helm lint --strict deploy/kubernetes
    rendered "helm template"
    sed 's/^/  /; 1i policy:' deploy/policy.yaml >"$work/policy"
    sed 's/^/  /; 1i gates:' deploy/samples/gates.yaml >"$work/gates"
    rendered "helm template, with every option" \
        --set keda.tls=true --set keda.usernameKey=redis-user --set keda.passwordKey=redis-password \
        --set redisCaKey=redis-ca --set databaseCaKey=database-ca \
        --set publishedClaim=posts --set 'image.pullSecrets[0].name=pull' \
        --set config.worker.grace=20s --values "$work/policy" --values "$work/gates"
    rendered "helm template, without KEDA" --set keda.redis=
}

rules() {
    has promtool || { left_out "deploy/prometheus (no promtool)"; return 0; }
    check "alerts.yaml" promtool check rules deploy/prometheus/alerts.yaml
    check "alerts_test.yaml" promtool test rules deploy/prometheus/alerts_test.yaml
    check "prometheus.yaml" promtool check config deploy/prometheus/prometheus.yaml
    check "systemd.yaml" promtool check config deploy/prometheus/systemd.yaml
    # Debian builds its Prometheus without Kubernetes.
    local kubernetes=deploy/prometheus/kubernetes.yaml
    if grep -q 'kubernetes_sd_configs not found' <(promtool check config $kubernetes 2>&1); then
        left_out "$kubernetes (this promtool knows no Kubernetes)"
    else
        check "$kubernetes" promtool check config $kubernetes
    fi
}

# Metrics that there are: as metrics.rs registers them, by the names under which Prometheus has them.
registered() {
    tr '\n' ' ' <crates/fleet/src/metrics.rs | awk '
        { text = $0
          while (match(text, /pub [a-z_]+: (Family<[A-Za-z]+, )?(Counter|Gauge|Histogram)/)) {
              split(substr(text, RSTART + 4, RLENGTH - 4), part, ":")
              kind[part[1]] = part[2]
              text = substr(text, RSTART + RLENGTH)
          }
          text = $0
          while (match(text, /register\( *"[a-z_]+", *"[^"]*", *m\.[a-z_]+/)) {
              one = substr(text, RSTART, RLENGTH)
              split(one, quoted, "\"")
              field = one; sub(/.*m\./, "", field)
              name = "tidemill_" quoted[2]
              if (kind[field] ~ /Counter/) print name "_total"
              else if (kind[field] ~ /Histogram/) print name "_bucket\n" name "_sum\n" name "_count"
              else print name
              text = substr(text, RSTART + RLENGTH)
          } }' | sort -u
}

metrics() {
    local name file
    registered >"$work/registered"
    grep -ohE '\btidemill_[a-z_]+' deploy/prometheus/*.yaml deploy/grafana/tidemill.json | sort -u >"$work/named"
    while IFS= read -r name; do
        fault "there is no metric $name, which alerts or dashboard name"
    done < <(comm -13 "$work/registered" "$work/named")
    for file in "$@"; do
        grep -oE '^tidemill_[a-z_]+' "$file" | sort -u >"$work/served"
        while IFS= read -r name; do
            fault "$file: $name is served and metrics.rs has none of it"
        done < <(comm -13 "$work/registered" "$work/served")
        has promtool || { left_out "$file by promtool"; continue; }
        # OpenMetrics names a counter's family without the _total that promtool expects there.
        awk '$2 == "HELP" { help = $0; next }
             $2 == "TYPE" { if ($4 == "counter") { sub($3, $3 "_total", help); sub($3, $3 "_total") } print help }
             $2 != "EOF"' "$file" >"$work/classic"
        check "$file" promtool check metrics <"$work/classic"
    done
}

# Reasons with which jobs and entries die, and with which outlets are refused at the start; each value as an ellipsis.
reasons() {
    local file
    find crates/{rails,fleet,etl,embedding,judge,agent,publisher,calls,outlets,providers,planner,vectors}/src crates/feeds/src/document.rs -name '*.rs' \
        ! -path '*/tests*' ! -path '*/model_folder/*' | while IFS= read -r file; do
        awk '/#\[cfg\(test\)\]/ { exit } { printf "%s ", $0 }' "$file" | tr -s ' ' | grep -oP \
            '(Failure::permanent|Error::permanent|[bB]ury|Transition::die|given_up|reason = format!)\([^;"]{0,90}\K"([^"\\]|\\.)*"' || true
    done
    # An event that ETL refuses, and what no handler said.
    tr -s '\n ' ' ' <crates/etl/src/error.rs | grep -oP '#\[error\( ?\K"([^"\\]|\\.)*"'
    grep -oP 'reason: \K"[^"]*"' crates/planner/src/reconcile.rs
    grep -oP 'Called::Refused\(format!\(\K"[^"]*"' crates/calls/src/mcp.rs
}

# What is quoted, values as ellipses, without what has no words.
plain() { sed -E 's/^"(.*)"$/\1/; s/\{[^}]*\}/…/g; s/`//g' | grep -P '[a-z]{2}' | sort -u; }

runbook() {
    grep -oP '^ +- alert: \K\w+' deploy/prometheus/alerts.yaml | sort >"$work/alerts"
    grep -oP '^### \KTidemill\w+' docs/runbook.md | sort >"$work/entries"
    same "alerts and their entries in docs/runbook.md" "$work/alerts" "$work/entries"
    grep -oP 'runbook: docs/runbook.md#\K\w+' deploy/prometheus/alerts.yaml | sort >"$work/links"
    tr '[:upper:]' '[:lower:]' <"$work/alerts" | sort >"$work/anchors"
    same "alerts and their links" "$work/anchors" "$work/links"

    { echo 0; grep -oP '^ +(Usage|Unavailable|Bug) = \K\d+' crates/fleet/src/fault.rs; } | sort >"$work/codes"
    grep -oP '^### \K\d+$' docs/runbook.md | sort >"$work/told"
    same "exit codes and their entries in docs/runbook.md" "$work/codes" "$work/told"

    reasons | plain >"$work/reasons"
    # A reason may stand anywhere in the runbook; what begins a row of a table must be one.
    # shellcheck disable=SC2016
    grep -oP '`\K[^`]+(?=`)' docs/runbook.md | sort -u >"$work/code"
    # shellcheck disable=SC2016
    grep -oP '^\| `\K[^`]+(?=`)' docs/runbook.md | sort -u >"$work/rows"
    local line
    while IFS= read -r line; do
        fault "docs/runbook.md does not tell of the reason: $line"
    done < <(comm -23 "$work/reasons" "$work/code")
    grep -rhoP --include='*.rs' '"([^"\\]|\\.)*"' crates | plain >"$work/texts"
    while IFS= read -r line; do
        grep -qxF -- "$line" "$work/texts" || fault "docs/runbook.md tells of a reason that no source has: $line"
    done <"$work/rows"
}

if [ "${1:-}" = --install ]; then
    shift
    install_packages
fi
if [ "${1:-}" = chart ]; then
    chart
else
    compose
    units
    chart
    rules
    metrics "$@"
    runbook
fi

if [ "$faults" -gt 0 ]; then
    printf 'deploy: %s faults\n' "$faults" >&2
    exit 1
fi
echo "deploy: holds$([ "$left_out" -eq 0 ] || echo ", but for what was left out")"
