"""Statistics of a training set that a potential starts from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import atomic_number, describe
from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.graph.labels import CONDITIONS
from equireann_pyg.nn.isolation import isolation

LOGGER = logging.getLogger(__name__)

GIVEN, ISOLATED, FITTED, UNDETERMINED = "given", "isolated atom", "fitted", "not determined"
"""Where a reference energy comes from."""

RTOL = 1e-8
"""Singular values of the compositions below this part of the largest say nothing."""

STRONGEST = -15.0
"""Mean energy in eV below which no atom is bound: in tungsten it is -9."""

SAME = 1e-3
"""Energies of isolated atoms that differ by more than this, in eV, are not those of the same state."""


@dataclass(frozen=True)
class References:
    """Reference energies of the elements of a model.

    Args:
        energies: eV per atom of each atomic number; zero for an element without data.
        origins: where each comes from: "given", "isolated atom", "fitted" or "not determined".
        elements: atomic numbers in the training set.
    """

    energies: dict[int, float]
    origins: dict[int, str]
    elements: frozenset[int] = frozenset()

    def __str__(self) -> str:
        """One line, as for a log."""
        parts = (f"{describe([z])} {energy:.6g} ({self.origins[z]})" for z, energy in self.energies.items())
        return f"reference energies in eV: {', '.join(parts)}"

    @property
    def isolated(self) -> bool:
        """Whether some are energies of isolated atoms, so that the atoms of the training set are bound."""
        return bool(set(self.origins.values()) & {GIVEN, ISOLATED})

    @property
    def warnings(self) -> list[str]:
        """What makes energies wrong, and what to do about it, one line each."""
        notes = []
        if free := self._of(UNDETERMINED) & self.elements:
            notes.append(
                f"reference energies of {describe(free)}: the compositions of the training set do not determine them, so "
                "isolated atoms and other compositions will have wrong energies; add isolated-atom frames "
                "(config_type=IsolatedAtom) or give --data.references"
            )
        if self.isolated and (fitted := (self._of(FITTED) | self._of(UNDETERMINED)) & self.elements):
            notes.append(
                f"reference energies of {describe(fitted)} are fitted beside those of isolated atoms of "
                f"{describe(self._of(ISOLATED))}, so they hold all of the binding; add isolated-atom frames of "
                f"{describe(fitted)} too"
            )
        return notes

    def _of(self, origin: str) -> set[int]:
        return {number for number, found in self.origins.items() if found == origin}


def find_references(
    dataset: Sequence[Data], elements: Iterable[int], given: Mapping[str, float] | Mapping[int, float] | None = None
) -> References:
    """Reference energies: those given, else those of isolated-atom frames, else fitted with the others held fixed.

    Args:
        dataset: training set.
        elements: atomic numbers of the model.
        given: eV per atom by symbol or number; elements of the model that are left out need an isolated-atom frame.

    Raises:
        ValueError: if only some elements are given and the rest have no isolated-atom frame; see also
            :func:`isolated_atoms` and :func:`fit_reference_energies`.
    """
    elements = sorted(elements)
    known = {atomic_number(element): float(value) for element, value in (given or {}).items()}
    isolated = isolated_atoms(dataset)
    origins = {number: GIVEN if number in known else ISOLATED for number in elements if number in known | isolated}
    if known and (missing := set(elements) - set(origins)):
        raise ValueError(
            f"references lack {describe(missing)}: give the energy of an isolated atom of every element of the model, or "
            "add an isolated-atom frame"
        )
    energies = {number: (isolated | known)[number] for number in origins}
    present = frozenset(number for data in dataset for number in data.z.tolist())
    if present - set(origins):
        fitted = fit_reference_energies(dataset, energies)
        sure = determined(dataset, energies)
        for number in set(elements) - set(origins):
            energies[number] = fitted.get(number, 0.0)
            origins[number] = FITTED if number in sure else UNDETERMINED
    for number in set(elements) - set(origins):
        energies[number], origins[number] = 0.0, UNDETERMINED
    return References(dict(sorted(energies.items())), dict(sorted(origins.items())), present)


def isolated_atoms(dataset: Iterable[Data]) -> dict[int, float]:
    """Energies of isolated atoms in eV by atomic number: of neutral one-atom frames without neighbours or a field.

    Frames with ``config_type`` IsolatedAtom go before others, which are left out where they disagree among themselves, with a
    warning in the log.

    Raises:
        ValueError: if a frame of this type has several atoms, or neighbours, or if two of an element differ in energy.
    """
    marked: dict[int, list[float]] = {}
    others: dict[int, list[float]] = {}
    for index, data in enumerate(dataset):
        named = str(data.get("config_type") or "").lower().replace("_", "").replace(" ", "") == "isolatedatom"
        neighbours = not _unbound(data)
        if named and (data.z.numel() != 1 or (data.edge_index is not None and neighbours)):
            what = "neighbours (periodic images)" if data.z.numel() == 1 else f"{data.z.numel()} atoms"
            raise ValueError(
                f"frame {index}: config_type is {data.config_type}, but there are {what}: it must be one atom without any "
                "within the cutoff; repair the frame or rename its config_type"
            )
        charged = any(name in data and bool(data[name].any()) for name in CONDITIONS)
        plain = data.z.numel() == 1 and not neighbours and not charged
        if (named or plain) and bool(torch.isfinite(data.energy).all()):
            (marked if named else others).setdefault(int(data.z), []).append(float(data.energy))
    for number, values in marked.items():
        if max(values) - min(values) > SAME:
            raise ValueError(
                f"isolated atoms of {describe([number])} have energies from {min(values):g} to {max(values):g} eV: keep the "
                "frame of the ground state"
            )
    for number, values in others.items():
        if max(values) - min(values) > SAME and number not in marked:
            LOGGER.warning(
                f"single atoms of {describe([number])} have energies from {min(values):g} to {max(values):g} eV, so none is "
                "its reference: mark the one of the ground state by config_type=IsolatedAtom"
            )
    agreeing = {number: values for number, values in others.items() if max(values) - min(values) <= SAME}
    return {number: values[0] for number, values in (agreeing | marked).items()}


def fit_reference_energies(dataset: Iterable[Data], fixed: Mapping[int, float] | None = None) -> dict[int, float]:
    r"""Energy per atom of each element, :math:`\min_{E^0} \sum_s (E_s - \sum_z N_{sz} E^0_z)^2`, in float64.

    Where the compositions do not determine every element (all frames of one formula, say), the solution closest to the
    same energy per atom for all elements is taken.

    Args:
        dataset: graphs with ``z`` and ``energy``; frames without energy are left out.
        fixed: references that are known, by atomic number.

    Returns:
        eV per atom of each atomic number that occurs and is not fixed.

    Raises:
        ValueError: if no frame has an energy.
    """
    fixed = fixed or {}
    frames = [(data.z, data.energy) for data in dataset]
    elements = torch.cat([z for z, _ in frames]).unique() if frames else torch.empty(0)
    known = [(z, energy) for z, energy in frames if bool(torch.isfinite(energy).all())]
    if not known:
        raise ValueError("no frame has an energy: name its key, for example --data.keys.energy=REF_energy")
    counts = _counts([z for z, _ in known], elements)  # -> [S, Z]
    energies = torch.cat([energy for _, energy in known]).double()  # -> [S]
    values = torch.tensor([fixed.get(number, 0.0) for number in elements.tolist()], dtype=torch.float64)
    free = torch.tensor([number not in fixed for number in elements.tolist()])
    solution = least_squares(counts[:, free], energies - counts @ values)
    return dict(zip(elements[free].tolist(), solution.tolist(), strict=True))


def determined(dataset: Iterable[Data], fixed: Mapping[int, float] | None = None) -> set[int]:
    """Elements whose energy the compositions of :func:`fit_reference_energies` determine."""
    known = [data.z for data in dataset if bool(torch.isfinite(data.energy).all())]
    elements = torch.cat(known).unique()
    elements = elements[torch.tensor([number not in (fixed or {}) for number in elements.tolist()], dtype=torch.bool)]
    counts = _counts(known, elements)
    resolution = (torch.linalg.pinv(counts, rtol=RTOL) @ counts).diagonal()  # one where the data say all
    return set(elements[resolution > 1 - 1e-6].tolist())


def fit_binding(dataset: Iterable[Data], references: Mapping[int, float], cutoff: float) -> dict[int, float]:
    r"""Mean binding energy of each element, :math:`\min_b \sum_s [E_s - \sum_i E^0_i - \sum_i (1 - a_i)\, b_{z_i}]^2`.

    a is the isolation of each atom, see :func:`~equireann_pyg.nn.isolation`.

    Args:
        dataset: graphs with energies.
        references: eV per atom of each atomic number.
        cutoff: that of the potential, in Angstrom.

    Returns:
        eV per bound atom of each atomic number that occurs.
    """
    frames = [data for data in dataset if bool(torch.isfinite(data.energy).all())]
    if not frames:
        return {}
    elements = torch.cat([data.z for data in frames]).unique()
    bound = [1 - isolation(data.edge_index, edge_vectors(data), data.z.numel(), cutoff) for data in frames]
    weights = [
        ((data.z.unsqueeze(1) == elements) * b.unsqueeze(1)).sum(0) for data, b in zip(frames, bound, strict=True)
    ]
    energies = torch.cat([data.energy.double() - sum(references[z] for z in data.z.tolist()) for data in frames])
    solution = least_squares(torch.stack(weights).double(), energies, rtol=1e-3)  # isolation varies a little everywhere
    return dict(zip(elements.tolist(), solution.tolist(), strict=True))


def doubtful_binding(dataset: Iterable[Data], references: Mapping[int, float]) -> str | None:
    """Warning of isolated atoms that cannot be of the same level of theory as a training set; None where all is well.

    Args:
        dataset: graphs with energies.
        references: eV per atom of each atomic number.
    """
    frames = [data for data in connected(dataset) if bool(torch.isfinite(data.energy).all())]
    bound = sum(float(data.energy) - sum(references[z] for z in data.z.tolist()) for data in frames)
    mean = bound / max(1, sum(data.z.numel() for data in frames))
    if STRONGEST < mean < -STRONGEST / 5:
        return None
    return (
        f"the atoms of the training set have {mean:.4g} eV each relative to isolated atoms (expected between {STRONGEST:g} and "
        f"{-STRONGEST / 5:g}): are the reference energies of the same level of theory, and in eV?"
    )


def _counts(frames: Sequence[Tensor], elements: Tensor) -> Tensor:
    return torch.stack([(z.unsqueeze(1) == elements).sum(0) for z in frames]).double()  # -> [S, Z]


def least_squares(counts: Tensor, energies: Tensor, rtol: float = RTOL) -> Tensor:
    """Energies per atom ``[Z]``; what is not determined stays as close as possible to the mean over all atoms.

    Args:
        counts: number of atoms of each element in each frame, ``[S, Z]``.
        energies: of the frames, ``[S]``.
        rtol: singular values below this part of the largest say nothing.
    """
    size = counts.sum(1)
    mean = energies[size > 0].sum() / size.sum().clamp(min=1e-12)
    return mean + torch.linalg.pinv(counts, rtol=rtol) @ (energies - mean * size)


def _unbound(data: Data) -> bool:
    """Whether no atom of a graph has a neighbour."""
    return data.edge_index is not None and data.edge_index.size(1) == 0


def connected(dataset: Iterable[Data]) -> list[Data]:
    """Frames in which an atom has a neighbour, or all where there are none."""
    frames = list(dataset)
    return [data for data in frames if not _unbound(data)] or frames


def force_scale(dataset: Iterable[Data], references: Mapping[int, float]) -> float:
    """Root mean square of the force components in eV/Angstrom; without forces, the spread of energy per root of atoms.

    Frames without neighbours, such as isolated atoms, do not count.

    Args:
        dataset: graphs.
        references: energy per atom of each atomic number, binding included.
    """
    squares, count, spread, frames = 0.0, 0, 0.0, 0
    for data in connected(dataset):
        forces = data.forces[torch.isfinite(data.forces)]
        squares, count = squares + float(forces.square().sum()), count + forces.numel()
        if bool(torch.isfinite(data.energy).all()):
            residual = float(data.energy) - sum(references.get(z, 0.0) for z in data.z.tolist())
            spread, frames = spread + residual**2 / data.z.numel(), frames + 1
    if count and squares > 0:
        return (squares / count) ** 0.5
    return (spread / frames) ** 0.5 if frames and spread > 0 else 1.0
