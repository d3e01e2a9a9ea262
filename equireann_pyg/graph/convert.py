"""Structures of ASE to graphs with labels, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.known import to_device
from equireann_pyg.graph.labels import CONDITIONS, LABELS, LabelKeys, read_labels
from equireann_pyg.graph.radius import radius_graph

if TYPE_CHECKING:
    from ase import Atoms


def from_ase(
    atoms: Atoms,
    cutoff: float,
    *,
    keys: LabelKeys | None = None,
    labels: Collection[str] | None = None,
    device: torch.device | str = "cpu",
) -> Data:
    """Graph of a structure with its labels.

    Args:
        atoms: structure; labels from ``info``, ``arrays`` or the calculator. Results that a calculator computed for
            another structure than the present one are left out, as ASE does.
        cutoff: in Angstrom.
        keys: names of the labels.
        labels: labels and conditions to read; None for all.
        device: where neighbours are searched, as far as they can be found there, and where the graph goes.

    Returns:
        ``Data`` with the fields of :mod:`equireann_pyg.graph`.

    Raises:
        ValueError: see :func:`radius_graph` and :func:`equireann_pyg.graph.labels.read_labels`.
    """
    return to_device(labelled_graph(atoms, cutoff, read_labels(atoms, keys, labels).values, device), device)


def labelled_graph(atoms: Atoms, cutoff: float, labels: Mapping[str, Any], device: torch.device | str = "cpu") -> Data:
    """Graph of a structure with the labels that are given as arrays; only the edges are on the device yet.

    Args:
        atoms: structure.
        cutoff: in Angstrom.
        labels: float64 array of every label and condition, ``[1, ...]`` or ``[N, ...]``.
        device: where neighbours are searched.

    Raises:
        ValueError: see :func:`radius_graph`.
    """
    pos = torch.tensor(atoms.get_positions(), dtype=torch.float64)
    pbc = torch.tensor(atoms.get_pbc())
    cell = torch.tensor(np.asarray(atoms.get_cell()), dtype=torch.float64)
    edge_index, edge_shift = radius_graph(pos.to(device), cutoff, cell.to(device), pbc)
    return Data(
        z=torch.tensor(atoms.get_atomic_numbers(), dtype=torch.int64),
        pos=pos,
        cell=cell.unsqueeze(0),
        pbc=pbc.unsqueeze(0),
        edge_index=edge_index,
        edge_shift=edge_shift,
        cutoff=torch.tensor([cutoff], dtype=torch.float64),
        config_type=str(atoms.info.get("config_type", "default")),
        **{name: torch.from_numpy(value) for name, value in labels.items()},
    )


def label_of(data: Data, name: str) -> Tensor:
    """Label of a graph or a batch, all NaN where a graph from elsewhere has no such field."""
    value = data.get(name)
    if value is not None:
        return value
    label = LABELS[name]
    return data.pos.new_full((data.z.numel() if label.per_atom else data.cell.size(0), *label.shape), torch.nan)


def to_ase(data: Data) -> Atoms:
    """Structure of one graph, with its finite labels in a ``SinglePointCalculator`` (the polarizability in ``info``)."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    z, pos, cell, pbc = (data[name].detach().cpu().numpy() for name in ("z", "pos", "cell", "pbc"))
    atoms = Atoms(z, pos, cell=cell[0], pbc=pbc[0])
    atoms.info["config_type"] = data.config_type
    keys = LabelKeys()
    for name in CONDITIONS:
        if name in data and bool(data[name].any()):
            atoms.info[getattr(keys, name)] = np.squeeze(data[name].detach().cpu().numpy())[()]
    labels = {name: label_of(data, name).detach().cpu().double() for name in LABELS}
    results, info = ase_results({name: value for name, value in labels.items() if bool(torch.isfinite(value).all())})
    atoms.info |= info
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def voigt(tensor: np.ndarray) -> np.ndarray:
    """Symmetric tensors ``[..., 3, 3]`` in Voigt's order xx yy zz yz xz xy, ``[..., 6]``."""
    return tensor.reshape(*tensor.shape[:-2], 9)[..., [0, 4, 8, 5, 2, 1]]


def ase_results(values: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels or predictions of one graph as results of an ASE calculator, and (without a place there) for ``info``."""
    arrays = {key: values[key].detach().cpu().numpy() for key in LABELS if key in values}
    results: dict[str, Any] = {
        key: array if LABELS[key].per_atom else array.reshape(LABELS[key].shape)[()] for key, array in arrays.items()
    }
    if "energy" in results:
        results["energy"] = float(results["energy"])  # of Python, as other calculators give it
    if "stress" in results:
        results["stress"] = voigt(results["stress"])
    return results, {name: results.pop(name) for name in ("polarizability",) if name in results}
