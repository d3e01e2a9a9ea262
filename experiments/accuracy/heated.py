r"""Development sets of what a table asks for and no training set has: molecules hotter than those of the training.

    pip install tblite rdkit
    python -m experiments.accuracy.heated --data ~/data

Molecular dynamics of the enol of malonaldehyde, of aspirin and of 3-ethoxypyridin-2-amine by GFN2-xTB (Bannwarth, Ehlert,
Grimme, J. Chem. Theory Comput. 2019, 15, 1652), which stands in for quantum chemistry here: what a model makes of 600 K,
trained at 300 K, does not depend on who computed the energies. Minutes on one core for the first, half an hour for each of
the others; frames that exist are kept. None is a molecule of a test set at several temperatures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS

from equireann_pyg.datasets import RMD17
from equireann_pyg.files import replacing, user_cache

FOLDER = Path(__file__).parent / "work" / "heated"
"""Where the frames lie: ``enol-300.extxyz`` and so on."""

TEMPERATURES = {"enol": (300, 600), "ethoxypyridine": (300, 1000), "aspirin": (300, 600)}
"""Temperatures in K of each molecule; the seed of a run is its place among them."""

SAMPLES, EVERY, BEFORE = 500, 60, 5000
"""Frames of each run, steps of 1 fs between them, and steps until the first one."""

ENOL = Atoms(
    "CCCOOHHHH",
    [
        *((0.00, 0.00, 0), (-1.22, 0.70, 0), (1.22, 0.65, 0), (-1.28, 1.95, 0), (1.27, 1.97, 0)),
        *((0.30, 2.25, 0), (0.00, -1.08, 0), (-2.15, 0.13, 0), (2.15, 0.07, 0)),
    ],
)
"""HO-CH=CH-CHO with its hydrogen bond, roughly; it is relaxed before it moves."""


def drawn(smiles: str) -> Atoms:
    """A molecule as RDKit draws it in space, roughly."""
    from rdkit import Chem  # only here: the trials need the frames, not the program
    from rdkit.Chem import rdDistGeom

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=0)
    return Atoms([atom.GetSymbol() for atom in molecule.GetAtoms()], molecule.GetConformer().GetPositions())


def aspirin(data: Path) -> Atoms:
    """Its first training frame in rMD17."""
    (graph,) = RMD17(data / "rmd17", "train", 5.0, molecule="aspirin", frames=":1").graphs
    return Atoms(graph.z.numpy(), graph.pos.numpy())


def frames(atoms: Atoms, temperature: float, seed: int) -> list[Atoms]:
    """Frames of a run from a relaxed molecule, each with energy and forces; the molecule ends where the run ends."""
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    run = Langevin(atoms, units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng, fixcm=False)
    run.run(BEFORE)
    kept = []
    for _ in range(SAMPLES):
        run.run(EVERY)
        frame = Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass())
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        kept.append(frame)
    return kept


def main() -> None:
    """Make what is missing."""
    from tblite.ase import TBLite  # only here: the trials need the frames, not the program

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    data = parser.parse_args().data
    FOLDER.mkdir(parents=True, exist_ok=True)
    starts = {"enol": lambda: ENOL, "ethoxypyridine": lambda: drawn("CCOc1cccnc1N"), "aspirin": lambda: aspirin(data)}
    for name, start in starts.items():
        for seed, temperature in enumerate(TEMPERATURES[name]):
            file = FOLDER / f"{name}-{temperature}.extxyz"
            if file.exists():
                continue
            atoms = start().copy()
            atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
            BFGS(atoms, logfile=None).run(fmax=0.02)
            made = frames(atoms, temperature, seed)
            with replacing(file) as partial:
                write(partial, made, format="extxyz")
            print(f"{file.name}: {len(made)} frames", flush=True)


if __name__ == "__main__":
    main()
