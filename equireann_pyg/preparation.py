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
    """Fit reference energies and scale, and let the model take its statistics (``fit_statistics``) if it has any.

    The sample is spread evenly over the set, so every process of a parallel run does the same.

    Args:
        potential: untrained potential, changed in place.
        dataset: training set.

    Raises:
        ValueError: if the set is empty, has no energies, or has elements the model does not know.
    """
    references = fit_reference_energies(dataset)
    scale = force_scale(dataset, references)
    known = {number: references.get(number, 0.0) for number in potential.elements}
    potential.set_references(known, scale)
    fit = getattr(potential.model, "fit_statistics", None)
    if fit is None:
        return
    stride = max(1, len(dataset) // SAMPLE)
    batch = Batch.from_data_list([dataset[index] for index in range(0, len(dataset), stride)])
    device = potential.scale.device
    edge_vec = edge_vectors(batch).to(device, potential.dtype)
    with torch.no_grad():
        fit(batch.z.to(device), batch.edge_index.to(device), edge_vec)
