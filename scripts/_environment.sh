# Sourced by the scripts: makes .venv with everything in it, once, and again when pyproject.toml has changed.
# Needs Python >= 3.11; nothing is installed outside of the checkout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$candidate"; return; }
    done
    echo "explgraph needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python3.12 $0" >&2
    exit 1
}

prepare_environment() {
    local stamp=.venv/.prepared wanted
    wanted=$(cksum pyproject.toml)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
    local python
    python=$(find_python)
    echo "setting up .venv (once; PyTorch is a large download) ..." >&2
    if command -v uv >/dev/null 2>&1; then
        [ -x .venv/bin/python ] || uv venv --quiet --python "$(command -v "$python")" .venv
        uv pip install --quiet --python .venv/bin/python -e ".[dev]"
    else
        [ -x .venv/bin/python ] || "$python" -m venv .venv || {
            echo "could not make a virtual environment; on Debian or Ubuntu: apt install python3-venv" >&2
            exit 1
        }
        .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
        .venv/bin/python -m uv pip install --quiet --python .venv/bin/python -e ".[dev]"
    fi
    echo "$wanted" >"$stamp"
}

prepare_environment
