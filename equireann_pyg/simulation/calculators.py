"""The ASE calculator of a simulation, made of the files of potentials."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator

from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.committee import CommitteeCalculator


def calculator_of(
    models: Sequence[str | Path],
    *,
    device: str = "cpu",
    dtype: str | None = None,
    skin: float = 0.5,
    block_size: int | None = None,
    allow_untrained: bool = False,
    graphed: bool = False,
) -> Calculator:
    """Calculator of one potential, or of the mean of several.

    Args:
        models: checkpoints or ``*.pt2`` files.
        device: where to compute.
        dtype: ``"float32"`` or ``"float64"``; by default that of the file.
        skin: extra cutoff of the neighbour list in Angstrom.
        allow_untrained: compute elements that the training set had no atom of, too.
        block_size: atoms at a time; all at once by default.
        graphed: replay recorded evaluations, on a CUDA device.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for whatever :class:`~equireann_pyg.EquiREANNCalculator` refuses.
    """
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "skin": skin,
        "allow_untrained": allow_untrained,
        "block_size": block_size,
        "graphed": graphed,
    }
    if len(models) == 1:
        return EquiREANNCalculator(models[0], **options)
    return CommitteeCalculator(models, **options)


def reach_of(calculator: Calculator) -> float:
    """Largest distance in Angstrom at which two atoms are neighbours; 6 for a calculator that does not say."""
    return max(getattr(getattr(member, "potential", None), "cutoff", 6.0) for member in _members(calculator))


def listed_positions(calculator: Calculator) -> np.ndarray | None:
    """Positions ``[N, 3]`` of the last neighbour search, which is the same in all of a committee; None if it does not say."""
    built = getattr(_members(calculator)[0], "_built", None)
    return None if built is None else built[0].positions


def _members(calculator: Calculator) -> list[Calculator]:
    return getattr(calculator, "members", [calculator])


def digests(models: Sequence[str | Path]) -> list[str]:
    """SHA-256 of the files of the potentials, which tells whether a run goes on with the same ones."""
    return [hashlib.sha256(Path(model).read_bytes()).hexdigest() for model in models]
