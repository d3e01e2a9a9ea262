"""What an untrained potential takes from its training set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch_geometric.data import Batch, Data

from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.potential.derivatives import position_gradient
from equireann_pyg.potential.model import fit_statistics
from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors
from equireann_pyg.training.references import (
    References,
    connected,
    doubtful_binding,
    find_references,
    fit_binding,
    force_scale,
)

LOGGER = logging.getLogger(__name__)

SAMPLE = 200
"""Number of frames for the statistics of a model."""


def prepare_potential(
    potential: Potential,
    dataset: Sequence[Data],
    references: Mapping[str, float] | Mapping[int, float] | None = None,
) -> References:
    """Set reference energies and scale, and let the model (``fit_statistics``) and the properties take their statistics.

    References are those given, else the energies of isolated-atom frames, else fitted to the labels. Where they are those of
    isolated atoms, the potential starts from mean binding energies. Scale and binding energies are fitted to what the
    repulsion of the potential leaves of the labels. The sample is spread evenly over the set, so every process of a parallel
    run does the same. Logs a warning of references that the data do not determine.

    Args:
        potential: untrained potential, changed in place.
        dataset: training set.
        references: energies of isolated atoms in eV by symbol or number.

    Returns:
        value and origin of each reference energy.

    Raises:
        ValueError: if the set is empty, has no energies, has elements the model does not know, or no label for a property;
            see also :func:`~equireann_pyg.training.references.find_references`.
    """
    if bool(potential.reference_energies.any()):
        LOGGER.warning(
            "the reference energies that the potential has are replaced by those of the training set: to keep them, give them "
            "as references (--data.references)"
        )
    frames = without_repulsion(potential, dataset)
    found = find_references(frames, potential.elements, references)
    for line in found.warnings:
        LOGGER.warning(line)
    binding = fit_binding(frames, found.energies, potential.cutoff) if found.isolated else {}
    if found.isolated and (note := doubtful_binding(frames, found.energies)):
        LOGGER.warning(note)
    bound = {number: energy + binding.get(number, 0.0) for number, energy in found.energies.items()}
    potential.set_references(found.energies, force_scale(frames, bound), binding)
    potential.record_training(dataset)
    _take_statistics(potential, dataset)
    return found


def _take_statistics(potential: Potential, dataset: Sequence[Data]) -> None:
    frames = connected(dataset)  # isolated atoms have no features to speak of
    if not frames:
        return
    batch = Batch.from_data_list(spread(frames, SAMPLE)).to(potential.scale.device)
    fit_statistics(potential.model, batch, potential.dtype)
    with torch.no_grad():
        if potential.properties:
            features = potential.features(batch)
            for part in potential.properties:
                part.fit(features, dataset)  # type: ignore[operator]


def spread(dataset: Sequence[Data], count: int) -> list[Data]:
    """About ``count`` frames (fewer than twice as many), evenly spread over a set."""
    return [dataset[index] for index in range(0, len(dataset), max(1, len(dataset) // count))]


def without_repulsion(potential: Potential, dataset: Sequence[Data]) -> Sequence[Data]:
    """The graphs with energies and forces that the repulsion of a potential leaves to its model.

    Args:
        potential: potential.
        dataset: labelled graphs; they are left as they are.
    """
    if potential.repulsion is None:
        return dataset
    repulsion, device = potential.repulsion, potential.scale.device
    frames = []
    for data in dataset:
        edge_vec = edge_vectors(data).to(device).requires_grad_()
        with torch.enable_grad():
            energy = repulsion(data.z.to(device), data.edge_index.to(device), edge_vec, potential.cutoff).sum()
        gradient = torch.autograd.grad(energy, edge_vec)[0] if energy.requires_grad else torch.zeros_like(edge_vec)
        frame, graph = copy(data), GraphTensors(data.z, data.pos, data.cell, data.edge_index, data.edge_shift)
        frame.energy = data.energy - energy.detach().cpu()
        frame.forces = data.forces + position_gradient([gradient.cpu()], graph)
        frames.append(frame)
    return frames
