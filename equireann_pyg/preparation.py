"""What an untrained potential takes from its training set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch_geometric.data import Batch, Data

from equireann_pyg.graph import edge_vectors
from equireann_pyg.potential import Potential
from equireann_pyg.references import fit_reference_energies, force_scale

SAMPLE = 200
"""Number of frames for the statistics of a model."""


def prepare_potential(potential: Potential, dataset: Sequence[Data]) -> None:
    """Fit reference energies and scale, and let the model (``fit_statistics``) and the properties take their statistics.

    The sample is spread evenly over the set, so every process of a parallel run does the same.

    Args:
        potential: untrained potential, changed in place.
        dataset: training set.

    Raises:
        ValueError: if the set is empty, has no energies, has elements the model does not know, or no label for a property.
    """
    references = fit_reference_energies(dataset)
    scale = force_scale(dataset, references)
    known = {number: references.get(number, 0.0) for number in potential.elements}
    potential.set_references(known, scale)
    potential.record_training(dataset)
    fit = getattr(potential.model, "fit_statistics", None)
    if fit is None and not potential.properties:
        return
    batch = Batch.from_data_list(spread(dataset, SAMPLE)).to(potential.scale.device)
    with torch.no_grad():
        if fit is not None:
            fit(batch.z, batch.edge_index, edge_vectors(batch).to(potential.dtype))
        if potential.properties:
            features = potential.features(batch)
            for part in potential.properties:
                part.fit(features, dataset)  # type: ignore[operator]


def spread(dataset: Sequence[Data], count: int) -> list[Data]:
    """About ``count`` frames (fewer than twice as many), evenly spread over a set."""
    return [dataset[index] for index in range(0, len(dataset), max(1, len(dataset) // count))]
