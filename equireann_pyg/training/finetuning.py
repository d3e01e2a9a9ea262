"""Further training of a trained potential: more elements, and references of other data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg.elements import SYMBOLS, atomic_number, atomic_numbers, describe
from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.nn.scaling import calibrate
from equireann_pyg.potential.checkpoint import build, load_potential, recipe
from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import Property
from equireann_pyg.training.preparation import spread
from equireann_pyg.training.references import SAME, isolated_atoms, least_squares

Refit = Literal["nothing", "references", "references_and_scale"]
"""What further training takes anew from its training set; everything else is kept."""

SAMPLE, BATCH = 1000, 16
"""Number of frames that references are refitted to, and that are evaluated together."""

RARE = 50
"""Frames with an element among those that references are refitted to, at least, where there are as many."""

LOGGER = logging.getLogger(__name__)


def starting_potential(
    model: torch.nn.Module | None,
    properties: Sequence[Property],
    repulsion: torch.nn.Module | None,
    init_from: str | None,
) -> Potential:
    """The potential that a training starts from: of a model, as it is, or of a file.

    Args:
        model: model of atomic energies, or a potential.
        properties: of a new potential.
        repulsion: of a new potential.
        init_from: file of a potential.

    Raises:
        ValueError: if there is no model and no file, or more than belongs together.
    """
    if init_from is not None:
        if model is not None or properties or repulsion is not None:
            raise ValueError(f"init_from {init_from} brings its own model, properties and repulsion: leave these out")
        return load_potential(init_from).train()
    if model is None:
        raise ValueError(
            "there is no model: set model.model, by --config equireann-plus for example, or model.init_from"
        )
    if isinstance(model, Potential):
        if properties or repulsion is not None:
            raise ValueError("the potential has parts of its own: leave out properties and repulsion")
        return model
    return Potential(model, properties, repulsion)


def add_elements(potential: Potential, elements: Iterable[str | int]) -> None:
    """Give a potential parameters for further elements; those it knows keep all of theirs, and their energies.

    The new rows are random, as in a fresh model, and of the size of those beside them. Until training has adapted them (see
    :func:`adapt_potential`), atoms of these elements are refused.

    Args:
        potential: potential, changed in place.
        elements: chemical symbols or atomic numbers; those it knows already are left alone.

    Raises:
        ValueError: for an unknown element.
        TypeError: if the model cannot be rebuilt: it has no ``config``, or none with ``elements``.
    """
    known = potential.elements
    joint = sorted({*known, *atomic_numbers(elements)})
    if joint == known:
        return
    plan = recipe(potential.model)
    if "elements" not in plan["init_args"]:
        raise TypeError(f"{type(potential.model).__name__}: its config has no `elements`, so that none can be added")
    plan["init_args"]["elements"] = [SYMBOLS[number] for number in joint]
    parts: Any = [build(recipe(part)) for part in potential.properties]
    larger = Potential(build(plan).to(potential.dtype), parts, potential.repulsion).to(potential.scale.device)
    parameters = {name for name, _ in potential.named_parameters()}
    places = [joint.index(number) for number in known]
    old, new = potential.state_dict(), larger.state_dict()
    joined = {name: _beside(value, new[name], places, len(joint), name in parameters) for name, value in old.items()}
    larger.load_state_dict(joined)
    potential.model, potential.properties = larger.model, larger.properties
    potential._kinds = larger._kinds
    potential.train(potential.training)


def _beside(known: Tensor, fresh: Tensor, places: Sequence[int], count: int, resize: bool) -> Tensor:
    """A fresh tensor with the known rows in their places; dimensions that differ run over elements or pairs of them."""
    rows = torch.tensor(places)
    index = [_rows(size, larger, rows, count) for size, larger in zip(known.shape, fresh.shape, strict=True)]
    where = torch.meshgrid(*index, indexing="ij") if index else ()
    joined = fresh.clone()
    if resize and known.shape != fresh.shape and float(joined[where].norm()) > 0:
        joined *= known.norm() / joined[where].norm()
    joined[where] = known
    return joined


def _rows(size: int, larger: int, rows: Tensor, count: int) -> Tensor:
    """Where one dimension of a known tensor goes: as it is, over elements, or over pairs of them."""
    if size == larger:
        return torch.arange(size)
    return rows if (size, larger) == (len(rows), count) else (rows.unsqueeze(1) * count + rows).flatten()


def adapt_potential(
    potential: Potential,
    dataset: Sequence[Data],
    refit: Refit = "nothing",
    references: Mapping[str, float] | Mapping[int, float] | None = None,
) -> None:
    """Fit a trained potential to the training set that it is to be trained further on, before the first step.

    Elements that it meets for the first time get their statistics and a reference energy: given, of an isolated-atom frame, or
    fitted by least squares to what the interactions that it has learnt leave of the energies, so that forces are not touched.

    Args:
        potential: prepared potential, changed in place.
        dataset: training set.
        refit: whether the references of all elements are fitted anew, as data of another level of theory need, and whether
            the scale is, to the forces.
        references: energies of isolated atoms in eV by symbol or number, of the elements whose references are not kept.

    Raises:
        ValueError: for references of elements that keep theirs, or a new element without any energy.
    """
    present = {number for data in dataset for number in data.z.unique().tolist()}
    fresh = sorted(number for number in present if not int(potential.training_atoms[number]))
    chosen = fresh if refit == "nothing" else sorted(present)
    given = {atomic_number(element): float(value) for element, value in (references or {}).items()}
    _check_given(potential, given, chosen, refit)
    isolated = isolated_atoms(dataset) | given
    sample = _sample(dataset, chosen, fresh, isolated)
    if fresh:
        _calibrate(potential, sample, fresh)
    if refit != "nothing":
        potential.switch.fill_(1.0)  # off in earlier files: new references are those of isolated atoms
    if refit == "references_and_scale":
        _refit_scale(potential, sample)
    _refit_references(potential, sample, chosen, isolated)
    potential.record_training(dataset)


def unused_references(potential: Potential, given: Mapping[int, float]) -> set[int]:
    """Elements whose reference energies in eV, by atomic number, are other ones than those that the potential has."""
    had = potential.reference_energies.tolist()
    return {number for number, energy in given.items() if abs(had[number] - energy) > SAME}


def _check_given(potential: Potential, given: Mapping[int, float], chosen: Sequence[int], refit: Refit) -> None:
    """Refuse references that would not be used; warn of those that belong to other data from now on."""
    if useless := unused_references(potential, given) - set(chosen):
        why = "is kept" if refit == "nothing" else "is not fitted, for the training set has no such atom,"
        hint = ": leave it out, or take all references anew by model.refit references" if refit == "nothing" else ""
        raise ValueError(f"references: that of {describe(useless)} {why} in further training{hint}")
    if refit != "nothing" and (left := set(potential.elements) - set(chosen) - set(potential.untrained_elements())):
        LOGGER.warning(
            f"model.refit {refit}: the training set has no {describe(left)}, whose references stay those of the earlier data"
        )


def _sample(
    dataset: Sequence[Data], chosen: Sequence[int], fresh: Sequence[int], isolated: Mapping[int, float]
) -> list[Data]:
    """Frames spread over a set, and further ones with elements that would else be rare among them."""
    sample = spread(dataset, SAMPLE)
    seen = Counter(number for data in sample if _has_energy(data) for number in data.z.unique().tolist())
    rare = [number for number in chosen if seen[number] < RARE]
    holders: dict[int, list[Data]] = {number: [] for number in rare}
    for data in dataset if rare else ():
        for number in set(rare) & set(data.z.tolist()):
            holders[number].append(data)
    for number, frames in holders.items():
        labelled = [data for data in frames if _has_energy(data)]
        if not labelled and seen and number in set(fresh) - set(isolated):
            raise ValueError(
                f"no frame with {describe([number])}, which is new, has an energy: add one, or give --data.references"
            )
        sample += spread(labelled or frames, RARE)
    return sample


def _has_energy(data: Data) -> bool:
    return bool(torch.isfinite(data.energy).all())


@torch.no_grad()
def _calibrate(potential: Potential, sample: Sequence[Data], fresh: Sequence[int]) -> None:
    chosen = [data for data in sample if set(data.z.tolist()) & set(fresh)]
    batch = Batch.from_data_list(spread(chosen, 200)).to(potential.scale.device)
    rows = {potential.elements.index(number) for number in fresh}
    calibrate(potential.model, batch.z, batch.edge_index, edge_vectors(batch).to(potential.dtype), only=rows)


def _outputs(potential: Potential, sample: Sequence[Data], forces: bool) -> dict[str, Tensor]:
    """Energies ``[G]`` and, if asked for, forces ``[N, 3]`` of frames, on the CPU."""
    training, allowed = potential.training, potential.allow_untrained
    potential.eval().allow_untrained = True
    try:
        chunks = [sample[at : at + BATCH] for at in range(0, len(sample), BATCH)]
        batches = (Batch.from_data_list(list(chunk)).to(potential.scale.device) for chunk in chunks)
        outputs = [potential(batch, forces=forces, stress=False) for batch in batches]
    finally:
        potential.train(training).allow_untrained = allowed
    return {name: torch.cat([output[name] for output in outputs]).cpu() for name in outputs[0]}


def _refit_scale(potential: Potential, sample: Sequence[Data]) -> None:
    """Multiply the scale by the factor of the forces that suits the labels best."""
    predicted = _outputs(potential, sample, forces=True)["forces"]
    labels = torch.cat([data.forces for data in sample])
    known = torch.isfinite(labels)
    factor = (labels[known] * predicted[known]).sum() / predicted[known].square().sum()
    if bool(factor.isfinite()) and float(factor) > 0:
        potential.scale.mul_(factor)


def _refit_references(
    potential: Potential, sample: Sequence[Data], elements: Sequence[int], isolated: Mapping[int, float]
) -> None:
    """Shift the references of some elements by least squares on the energies that are left over.

    Where the energy of the isolated atom is known it is the reference, and the binding energy is shifted.
    """
    labelled = [data for data in sample if _has_energy(data)]
    if not (labelled and elements):
        return
    known = [number for number in elements if number in isolated]
    for number in known:
        potential.reference_energies[number] = isolated[number]
    left = torch.cat([data.energy for data in labelled]) - _outputs(potential, labelled, forces=False)["energy"]
    chosen = torch.tensor(elements)
    counts = torch.stack([(data.z.unsqueeze(1) == chosen).sum(0) for data in labelled]).double()  # -> [G, Z]
    bound = torch.tensor([data.edge_index.size(1) > 0 for data in labelled])
    for number, shift in zip(elements, least_squares(counts[bound], left[bound]).tolist(), strict=True):
        energies = potential.binding_energies if number in isolated else potential.reference_energies
        energies[number] += shift
