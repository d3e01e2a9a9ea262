"""Statistics of a training set that a potential starts from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch_geometric.data import Data


def fit_reference_energies(dataset: Iterable[Data]) -> dict[int, float]:
    r"""Energy per atom of each element, :math:`\min_{E^0} \sum_s (E_s - \sum_z N_{sz} E^0_z)^2`, in float64.

    Where the compositions do not determine every element (all frames of one formula, say), the solution closest to the
    same energy per atom for all elements is taken.

    Args:
        dataset: graphs with ``z`` and ``energy``; frames without energy are left out.

    Returns:
        eV per atom of each atomic number.

    Raises:
        ValueError: if no frame has an energy.
    """
    frames = [(data.z, data.energy) for data in dataset]
    elements = torch.cat([z for z, _ in frames]).unique() if frames else torch.empty(0)
    known = [(z, energy) for z, energy in frames if bool(torch.isfinite(energy).all())]
    if not known:
        raise ValueError("no frame has an energy: name its key, for example --data.keys.energy=REF_energy")
    counts = torch.stack([(z.unsqueeze(1) == elements).sum(0) for z, _ in known]).double()  # -> [S, Z]
    energies = torch.cat([energy for _, energy in known]).double()  # -> [S]
    mean = energies.sum() / counts.sum()
    correction = torch.linalg.pinv(counts, rtol=1e-8) @ (energies - mean * counts.sum(1))
    return dict(zip(elements.tolist(), (mean + correction).tolist(), strict=True))


def force_scale(dataset: Iterable[Data], references: dict[int, float]) -> float:
    """Root mean square of the force components in eV/Angstrom; without forces, the spread of energy per root of atoms.

    Args:
        dataset: graphs.
        references: see :func:`fit_reference_energies`.
    """
    squares, count, spread, frames = 0.0, 0, 0.0, 0
    for data in dataset:
        forces = data.forces[torch.isfinite(data.forces)]
        squares, count = squares + float(forces.square().sum()), count + forces.numel()
        if bool(torch.isfinite(data.energy).all()):
            residual = float(data.energy) - sum(references.get(z, 0.0) for z in data.z.tolist())
            spread, frames = spread + residual**2 / data.z.numel(), frames + 1
    if count and squares > 0:
        return (squares / count) ** 0.5
    return (spread / frames) ** 0.5 if frames and spread > 0 else 1.0
