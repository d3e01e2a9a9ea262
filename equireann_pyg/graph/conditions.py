"""Total charge and field of a structure, as its ``info`` has them."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from equireann_pyg.graph.labels import CONDITIONS, read_labels
from equireann_pyg.graph.names import meaning


def conditions_of(atoms: Atoms) -> dict[str, np.ndarray]:
    """Total charge ``[1]`` in e and field ``[1, 3]`` in V/Angstrom, under all names that files are read by; zero without.

    Raises:
        ValueError: for other shapes, numbers that are not finite, or two names that disagree.
    """
    bare = Atoms(info={key: atoms.info[key] for key in condition_keys(atoms)})
    try:
        found = read_labels(bare, labels=tuple(CONDITIONS))
    except ValueError as error:
        raise ValueError(f"atoms.info: {error}") from error
    return {name: found.values[name] for name in CONDITIONS}


def condition_keys(atoms: Atoms) -> list[str]:
    """Names under which ``atoms.info`` has a total charge or a field."""
    return [key for key in atoms.info if isinstance(key, str) and meaning(key).label in CONDITIONS]


def in_field(atoms: Atoms) -> bool:
    """Whether ``atoms.info`` has a field that is not zero."""
    fields = (np.asarray(atoms.info[key]) for key in condition_keys(atoms) if meaning(key).label == "field")
    return any(field.dtype.kind in "iuf" and bool(field.any()) for field in fields)
