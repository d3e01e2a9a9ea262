"""Labels that can be read and are hardly meant so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from equireann_pyg.graph.labels import FrameLabels

LARGEST_STRESS = 10.0
"""In eV/Angstrom^3, 1600 GPa: beyond it the unit is another one."""

WEIGHT = re.compile(r"config_(\w+_)?weight", re.IGNORECASE)
"""Names by which other programs weigh frames."""

Check = Callable[[Atoms, FrameLabels], Iterator[str]]


def counted(check: Check, frames: Sequence[Atoms], found: Sequence[FrameLabels]) -> list[str]:
    """What a check says of the frames of a file, each once, with the number of frames.

    Args:
        check: :func:`wrong` or :func:`odd`.
        frames: structures.
        found: their labels.
    """
    pairs = zip(frames, found, strict=True)
    counts = Counter(line for atoms, labels in pairs for line in check(atoms, labels))
    return [f"{line} ({number} frame{'s'[: number > 1]})" for line, number in counts.items()]


def wrong(atoms: Atoms, labels: FrameLabels) -> Iterator[str]:
    """What cannot be meant so."""
    if "stress" in labels.sources and np.abs(labels.values["stress"]).max() > LARGEST_STRESS:
        yield f"stress: more than {LARGEST_STRESS:g} eV/Å³: is it in GPa or kbar?"
    for key, value in atoms.info.items():
        weights = np.asarray(value)
        if WEIGHT.fullmatch(str(key)) and weights.dtype.kind in "iuf" and (weights != 1).any():
            yield f"{key}: not used, all frames count alike; leave out those that are not to count"


def odd(atoms: Atoms, labels: FrameLabels) -> Iterator[str]:
    """What may be right."""
    if "stress" in labels.sources and not labels.values["stress"].any():
        yield "stress: exactly zero; was it computed?"
    if "forces" in labels.sources and len(atoms) > 1:
        zero = ~labels.values["forces"].any(axis=1)  # -> [N]
        held = np.zeros(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                held[constraint.index] = True
        if zero.all():
            yield "forces: exactly zero; were they computed?"
        elif (held & zero).any():
            yield "forces: exactly zero on atoms that are held; they count as forces"
