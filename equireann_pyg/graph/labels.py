r"""Labels of structures: their names, shapes and units, and where a structure keeps them.

A label is looked up under its key (:class:`LabelKeys`). Where a file has nothing under the usual key, the names in common
use are tried: those of :data:`~equireann_pyg.graph.names.ALIASES`, in capitals or not, alone or marked as ``REF_``, ``dft_``
and the like.

A *virial* is turned into a stress: :math:`\sigma = -W/V`, the convention of extended XYZ, GAP, MACE and NequIP
(https://nequip.readthedocs.io/en/latest/guide/reference/conventions.html). A *gradient* is refused: it is minus the forces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from equireann_pyg.graph.names import GRADIENTS, LAST_RESORT, VIRIAL, base_name, meaning

if TYPE_CHECKING:
    from ase import Atoms

Places = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Label:
    """Shape of a label for one graph, or one atom, and its unit."""

    shape: tuple[int, ...]
    unit: str
    per_atom: bool = False


LABELS = {
    "energy": Label((), "eV"),
    "forces": Label((3,), "eV/Å", per_atom=True),
    "stress": Label((3, 3), "eV/Å³"),
    "dipole": Label((3,), "e Å"),
    "polarizability": Label((3, 3), "e Å²/V"),
    "charges": Label((), "e", per_atom=True),
}
"""Everything a graph can be labelled with."""

CONDITIONS = {"total_charge": Label((), "e"), "field": Label((3,), "V/Å")}
"""What a graph is given besides its structure, zero where the file says nothing."""

KINDS = LABELS | CONDITIONS
"""Everything that is read beside the structure."""

PER_ATOM = {"atomic_energy", *(name for name, label in LABELS.items() if label.per_atom)}
"""Outputs of a potential with one row for each atom."""

EXPECTED = ("energy", "forces", "stress")
"""Labels that most files have: a malformed one is always an error, a similar name is likely one of them misspelt."""


@dataclass(frozen=True)
class LabelKeys:
    """Names under which a file keeps its labels; None switches a label off.

    A name is looked up in ``atoms.info``, ``atoms.arrays`` and the results of an attached ASE calculator, which is where
    ASE's readers put ``energy``, ``forces`` and ``stress``. Where no frame has the default name, those of
    :data:`~equireann_pyg.graph.names.ALIASES` are tried; another name than the default is taken literally.

    Args:
        energy: total energy in eV.
        forces: forces in eV/Angstrom.
        stress: stress in eV/Angstrom^3, ASE's sign (positive under tension), or a virial in eV, if it has that word in its
            name; 6 (Voigt: xx yy zz yz xz xy), 9 or 3 x 3 numbers.
        dipole: dipole moment in e Angstrom.
        polarizability: polarizability in e Angstrom^2/V; 6 (Voigt), 9 or 3 x 3 numbers.
        charges: partial charges in e.
        total_charge: total charge in e.
        field: electric field in V/Angstrom.
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    stress: str | None = "stress"
    dipole: str | None = "dipole"
    polarizability: str | None = "polarizability"
    charges: str | None = "charges"
    total_charge: str | None = "charge"
    field: str | None = "external_field"

    def usual(self, name: str) -> bool:
        """Whether a label has its default key."""
        return bool(getattr(self, name) == getattr(LabelKeys, name))


@dataclass
class FrameLabels:
    """Labels of one structure.

    Args:
        values: array of each label, ``[1, ...]`` or ``[N, ...]``; NaN (zero for a condition) where there is none.
        sources: name under which each label was found.
        unused: names of labels that were found but not used, and why.
        malformed: labels that nobody asked for and that cannot be read, and why.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)


def label_places(atoms: Atoms) -> Places:
    """Where labels are looked up, in this order: ``info``, ``arrays``, and the calculator's results if still valid."""
    outdated = hasattr(atoms.calc, "check_state") and atoms.calc.check_state(atoms)
    results = {} if outdated else getattr(atoms.calc, "results", {})
    return {"info": atoms.info, "arrays": atoms.arrays, "calculator": results}


def candidates(name: str, found: Iterable[str], keys: LabelKeys) -> list[str]:
    """Names among ``found`` under which a label may be, best first."""
    key = getattr(keys, name)
    if key is None:
        return []
    if not keys.usual(name):
        return [key]
    ranks = {other: meaning(other).rank for other in found if meaning(other).label == name}
    ordered = sorted(ranks, key=lambda other: (other != key, ranks[other], other))
    better = [other for other in ordered if not other.lower().endswith(LAST_RESORT)]
    return better or ordered


def read_labels(
    atoms: Atoms,
    keys: LabelKeys | None = None,
    labels: Collection[str] | None = None,
    found: Iterable[str] | None = None,
    lenient: bool = False,
) -> FrameLabels:
    """Labels of a structure.

    Args:
        atoms: structure; see :func:`label_places`.
        keys: names of the labels.
        labels: labels to read, names of :data:`KINDS`; None for all. Others are not looked at.
        found: names that occur anywhere in the file; by default those of this structure.
        lenient: whether a label that cannot be read is left out, except those of :data:`EXPECTED` and those with keys
            of their own.

    Raises:
        ValueError: for labels that are not numbers, not finite or of the wrong shape, for a gradient in place of forces,
            or for several names that disagree.
    """
    keys = LabelKeys() if keys is None else keys
    places = label_places(atoms)
    present = {key for place in places.values() for key in place}
    found, result = present if found is None else found, FrameLabels()
    for name, kind in KINDS.items():
        result.values[name] = np.full(
            (len(atoms) if kind.per_atom else 1, *kind.shape), 0.0 if name in CONDITIONS else np.nan
        )
        if labels is not None and name not in labels:
            continue
        names = [key for key in candidates(name, found, keys) if key in present]
        try:
            _read_label(result, atoms, name, names, places, keys.usual(name))
        except ValueError as error:
            if not lenient or name in EXPECTED or not keys.usual(name):
                raise
            result.malformed[name] = str(error)
    _note_unused(result, places, keys, labels)
    return result


def _read_label(result: FrameLabels, atoms: Atoms, name: str, names: list[str], places: Places, usual: bool) -> None:
    usable: dict[str, Any] = {}
    for key in names:
        value = _look_up(key, KINDS[name], places)
        if value is None or (usual and len(key) == 1 and not fits(value, name, len(atoms))):
            continue
        if base_name(key) in GRADIENTS:
            if not usable:
                raise ValueError(
                    f"label '{key}' is a gradient, minus the forces: store its negative as 'forces', "
                    "or go without by --data.keys.forces=null"
                )
            continue
        if VIRIAL.match(key) and name == "stress" and atoms.cell.rank < 3:
            result.unused[key] = "no cell volume"
            continue
        usable[key] = _label(name, key, value, result.values[name].shape, atoms)
        if key == names[0] and len(key) > 1 and key == getattr(LabelKeys, name):
            break  # the usual name needs no comparison
    if not usable:
        return
    chosen, *others = usable
    for other in others:
        if not np.allclose(usable[chosen], usable[other], rtol=1e-6, atol=1e-8):
            raise ValueError(
                f"labels '{chosen}' and '{other}' are different: name the {name} to use, --data.keys.{name}={chosen}"
            )
    result.values[name], result.sources[name] = usable[chosen], chosen


def _look_up(key: str, kind: Label, places: Places) -> Any:
    where = [place for place in places if kind.per_atom or place != "arrays"]  # a column is no label of the whole
    found = {place: places[place][key] for place in where if key in places[place]}
    if len(found) > 1:
        first, second = list(found)[:2]
        one, other = _nine(found[first]), _nine(found[second])
        numbers = one.dtype.kind in "iuf" and other.dtype.kind in "iuf" and one.size == other.size
        if numbers and not np.allclose(one, other, rtol=1e-6, atol=1e-8):
            raise ValueError(f"label '{key}' is one in {first} and another in {second}: remove one of them")
    return next(iter(found.values()), None)


def _nine(value: Any) -> Any:
    """Numbers in a row; nine where they are six, in the order of Voigt: xx yy zz yz xz xy."""
    value = np.ravel(value)
    return value[[0, 5, 4, 5, 1, 3, 4, 3, 2]] if value.size == 6 else value


def fits(value: Any, name: str, size: int) -> bool:
    """Whether a value has the shape of a label, for a structure of so many atoms."""
    value, kind = np.asarray(value), KINDS[name]
    shape = (size, *kind.shape) if kind.per_atom else kind.shape
    return value.dtype.kind in "iuf" and (value.shape == shape or (kind.shape == (3, 3) and value.size in (6, 9)))


def _label(name: str, key: str, value: Any, shape: tuple[int, ...], atoms: Atoms) -> Any:
    try:
        value = np.asarray(value)
    except ValueError:  # rows of different lengths
        value = np.asarray(value, dtype=object)
    if value.dtype.kind not in "iuf":
        raise ValueError(f"label '{key}': expected numbers for the {name}, got {value.tolist()!r:.50}")
    value = value.astype(np.float64)
    if shape == (1, 3, 3) and value.size == 6:
        value = _nine(value)
    if value.size != np.prod(shape) or (name == "forces" and value.shape != shape):
        got = list(value.shape) if value.ndim else f"the number {value:g}"
        raise ValueError(f"label '{key}': expected {name} of shape {list(shape)}, got {got}")
    if not np.isfinite(value).all():
        raise ValueError(f"label '{key}' is not finite: remove the label or the frame")
    if name == "stress" and VIRIAL.match(key):
        value = -value / atoms.get_volume()
    return value.reshape(shape)


def _note_unused(result: FrameLabels, places: Places, keys: LabelKeys, labels: Collection[str] | None) -> None:
    """Say of every name in common use why it was not used."""
    present, used = {key for place in places.values() for key in place}, set(result.sources.values())
    for key in sorted(present - used - set(result.unused)):
        name = meaning(key).label
        if not name or len(key) == 1:
            continue
        if getattr(keys, name) is None:
            result.unused[key] = "switched off"
        elif labels is not None and name not in labels:
            result.unused[key] = "not used by this model" if name in CONDITIONS else "not trained"
        elif name in result.sources:
            result.unused[key] = f"{result.sources[name]} is used instead"
        elif not keys.usual(name):
            result.unused[key] = f"keys.{name} is {getattr(keys, name)}"
        elif name not in result.malformed and _look_up(key, KINDS[name], places) is not None:
            result.unused[key] = "other frames have a better name"
