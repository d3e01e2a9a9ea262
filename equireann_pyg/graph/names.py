"""Names in common use for labels of structures, and what they stand for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

ALIASES = {
    "energy": ("energy", "total_energy", "potential_energy", "e", "free_energy"),
    "forces": ("forces", "force", "f"),
    "stress": ("stress", "virial", "virials"),
    "dipole": ("dipole", "dipole_moment"),
    "polarizability": ("polarizability", "polarisability"),
    "charges": ("charges", "partial_charges"),
    "total_charge": ("charge", "total_charge"),
    "field": ("external_field", "electric_field"),
}
"""Names in common use for each label, in small letters and without marks such as ``REF_``; the first is preferred."""

GRADIENTS = ("gradient", "gradients", "grad", "energy_gradient")
"""Names of minus the forces, which are refused."""

MARK = re.compile(r"^(ref|reference|dft|qm|target)[_-]|[_-](ref|reference|dft|qm|target)$", re.IGNORECASE)
VIRIAL = re.compile(r"(?!.*stress)(.*[_-])?virials?(?![a-z])", re.IGNORECASE)
"""Names of a virial."""

LAST_RESORT = "free_energy"
"""Taken for the energy only in a file without any other: it has the electrons' entropy in it."""


class Meaning(NamedTuple):
    """What a name stands for."""

    label: str = ""
    """Name of a label; empty for a name that is not in common use."""

    rank: int = 0
    """Place among the names of this label, the best first."""


def base_name(key: str) -> str:
    """A name in small letters, without marks such as ``REF_``, and with underscores for dashes."""
    return MARK.sub("", key).lower().replace("-", "_")


@lru_cache(maxsize=4096)
def meaning(key: str) -> Meaning:
    """What a name stands for."""
    base = base_name(key)
    for name, bases in ALIASES.items():
        if base in bases:
            return Meaning(name, bases.index(base))
    return Meaning("forces", len(ALIASES["forces"])) if base in GRADIENTS else Meaning()
