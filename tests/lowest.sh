#!/usr/bin/env bash
# The fast tests with the oldest Python and the oldest versions of everything that pyproject.toml allows.
#   tests/lowest.sh [FOLDER]    FOLDER: where the environment is made, .venv-lowest unless given; PYTHON: its interpreter
# Downloads gigabytes where the package index has torch with CUDA only.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-lowest}
python=${PYTHON:-python3.10}

test -x "$folder/tool/bin/uv" || { "$python" -m venv "$folder/tool"; "$folder/tool/bin/pip" install -q uv; }
uv="$folder/tool/bin/uv"
export VIRTUAL_ENV="$folder/environment"
test -x "$VIRTUAL_ENV/bin/python" || "$uv" venv -q --python "$python" "$VIRTUAL_ENV"
"$uv" pip compile -q --resolution lowest-direct --python "$python" --extra test --no-header pyproject.toml -o "$folder/lowest.txt"
"$uv" pip sync -q "$folder/lowest.txt"
"$uv" pip install -q pip wheel
"$uv" pip install -q --no-deps --no-build-isolation -e .
grep -E '^[a-z0-9_-]+==' "$folder/lowest.txt" | grep -v '^nvidia' | tr '\n' ' '; echo

# Old packages among new ones that they depend on: what those deprecate by now says nothing about this project.
exec "$VIRTUAL_ENV/bin/python" -m pytest -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -W ignore::FutureWarning
