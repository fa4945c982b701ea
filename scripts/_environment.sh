# Sourced by the scripts: makes .venv with everything in it, once, and again when pyproject.toml
# has changed. Needs Python >= 3.11; nothing is installed outside of the checkout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "explgraph needs Python 3.11 or newer; install it, or name it:" \
        "PYTHON=/path/to/python3.12 $0" >&2
    exit 1
}

# The uv of this machine, or else the one that prepare_environment puts into .venv.
uv_() {
    if command -v uv >/dev/null 2>&1; then uv "$@"; else .venv/bin/python -m uv "$@"; fi
}

prepare_environment() {
    local stamp=.venv/.prepared wanted python
    wanted=$(cksum pyproject.toml)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
    python=$(find_python)
    echo "setting up .venv (once; PyTorch is a large download) ..." >&2
    if command -v uv >/dev/null 2>&1; then
        [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
    else
        [ -x .venv/bin/python ] || "$python" -m venv .venv || {
            echo "could not make a virtual environment; on Debian or Ubuntu:" \
                "apt install python3-venv" >&2
            exit 1
        }
        .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
    fi
    uv_ pip install --quiet --python .venv/bin/python -e ".[dev]"
    echo "$wanted" >"$stamp"
}

# step NAME COMMAND..: runs a command and says how it is called and how long it took.
current=
step() {
    local started=$SECONDS
    current=$1
    shift
    echo "== $current"
    "$@" # not in an `if` or `||`: there, a function would go on after its first failure
    echo "== $current: $((SECONDS - started)) s"
    current=
}

name_failed_step() {
    local status=$?
    [ "$status" = 0 ] || [ -z "$current" ] || echo "== $current: FAILED" >&2
}
trap name_failed_step EXIT

prepare_environment
