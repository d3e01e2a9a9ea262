"""Energies and forces by a package's own calculator, in its own Python.

    python -m experiments.benchmark.own.predict PROGRAM MODEL FRAMES RESULT

Writes an .npz with ``energy [F]`` in eV, ``forces [N, 3]`` of all frames in a row in eV/Angstrom, and ``parameters``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator
from ase.io import read

Loaded = tuple[Calculator, int]


def mace(path: str) -> Loaded:
    """MACE's calculator in double precision, and the number of parameters."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=[path], device="cpu", default_dtype="float64")
    return calculator, size(calculator.models[0])


def nequip(path: str) -> Loaded:
    """NequIP's calculator of a checkpoint with averaged weights, and the number of parameters."""
    from nequip.ase import NequIPCalculator

    calculator = NequIPCalculator._from_saved_model(path, device="cpu", chemical_species_to_atom_type_map=True)
    return calculator, size(calculator.model)


def size(model: Any) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


CALCULATORS: dict[str, Callable[[str], Loaded]] = {"mace": mace, "nequip": nequip}


def main() -> None:
    """Compute all frames."""
    program, model, frames, result = sys.argv[1:]
    calculator, parameters = CALCULATORS[program](model)
    energies, forces = [], []
    for atoms in read(frames, ":"):
        calculator.calculate(atoms, ["energy", "forces"])
        energies.append(float(calculator.results["energy"]))
        forces.append(np.array(calculator.results["forces"], dtype=float))
    np.savez(result, energy=np.array(energies), forces=np.concatenate(forces), parameters=parameters)


if __name__ == "__main__":
    main()
