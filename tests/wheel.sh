#!/usr/bin/env bash
# As a new user: build the wheel, install it and what it needs into an empty environment, and use it in an empty folder.
#   tests/wheel.sh [FOLDER]    FOLDER: where all that is made, a temporary one unless given; TORCH: requirement, torch unless given
# tests/test_wheel.py does the same within the environment of the tests, without the installation of the dependencies.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(realpath "${1:-$(mktemp -d)}")
mkdir -p "$folder/empty"
cd "$folder"

"${PYTHON:-python3}" -m venv environment
pip() { environment/bin/python -m pip --disable-pip-version-check -q "$@"; }
(cd "$root" && git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$(mkdir -p "$folder/source" && echo "$folder/source")")
pip wheel --no-deps -w wheels ./source
pip install "${TORCH:-torch}"
torch=$(environment/bin/python -c "import torch; print(torch.__version__)")
pip install wheels/*.whl
test "$torch" = "$(environment/bin/python -c "import torch; print(torch.__version__)")" || { echo "torch was replaced"; exit 1; }

cd empty
unset PYTHONPATH
PATH="$folder/environment/bin:$PATH"
equireann quickstart --epochs 1
python - <<'PYTHON'
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

frames = []
for seed in range(10):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    frames.append(atoms)
write("copper.extxyz", frames)
PYTHON
for name in equireann equireann-plus; do
    config=$(python -c "from equireann_pyg.cli.configurations import find; print(find('$name'))")
    equireann fit --config "$config" --data.train copper.extxyz --model.model.init_args.elements "[Cu]" --trainer.max_epochs 2
done
find . -name best.ckpt | grep .
echo "the wheel works with torch $torch"
