# What the contenders' installers share. `here` is the contender's folder, `target` the folder that is filled.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${1:?the folder to install into}
mkdir -p "$target"

# needs PROGRAM...: where one is missing the contender is skipped.
needs() {
    local program
    for program; do
        command -v "$program" >/dev/null && continue
        echo "$(basename "$here"): $program is missing, so it cannot be installed" >&2
        exit 69
    done
}

# unless_there FILE... -- COMMAND...: runs it unless it ran before with the same content of these files.
unless_there() {
    local files=() content
    while [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    shift
    content=$(printf '%s\n' "$*" | cat - "${files[@]}" | sha256sum)
    if [ "$(cat "$target/.installed" 2>/dev/null)" = "$content" ]; then
        return
    fi
    rm -f "$target/.installed"
    "$@"
    echo "$content" >"$target/.installed"
}

# npm_packages: what package-lock.json pins.
npm_packages() {
    cp "$here/package.json" "$here/package-lock.json" "$target/"
    npm ci --prefix "$target" --no-audit --no-fund --loglevel=error >&2
}

# python_packages: what requirements.txt pins, in an environment of its own.
python_packages() {
    rm -rf "$target/venv"
    python3 -m venv "$target/venv"
    "$target/venv/bin/pip" install --quiet --no-deps --require-hashes --requirement "$here/requirements.txt" >&2
}
