"""The plugging examples do what their README says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase.io import write

from equireann_pyg import Potential, from_ase, load_potential, save_potential
from equireann_pyg.nn import SphericalHarmonics
from equireann_pyg.testing import (
    assert_close,
    assert_potential,
    assert_smooth_at_cutoff,
    random_orthogonal,
    randomize,
)
from equireann_pyg.training.metrics import with_unit
from experiments.plugging import orbital_conv
from experiments.plugging.schnet import CUTOFF, ELEMENTS, SchNetEnergies, rattled_crystal, train


def test_sequential_of_orbital_convolutions(dtype: torch.dtype) -> None:
    net, data = orbital_conv.orbital_features(), orbital_conv.clusters(3, seed=0)
    j, i = data.edge_index
    coefficient = torch.randn(data.num_nodes, orbital_conv.NUM_RADIAL)

    def densities(pos: torch.Tensor) -> torch.Tensor:
        vec = pos[j] - pos[i]
        r = vec.norm(dim=-1)
        radial, y = orbital_conv.radial_functions(r), SphericalHarmonics(2)(vec, r)
        return net(coefficient, None, data.edge_index, radial, y, radial[:, 0])

    pos = data.pos.to(dtype)
    turned = densities(pos @ random_orthogonal(reflect=True).T.to(dtype))
    assert_close(turned, densities(pos), 1e-4 if dtype == torch.float32 else 1e-12, "densities")
    net.reset_parameters()
    assert repr(net).count("OrbitalConv") == 2


def test_angles_need_orbitals() -> None:
    """One orbital convolution in a PyG network sees the angles that distances alone do not show."""
    without, with_orbitals = (orbital_conv.train(orbitals, steps=60, num_graphs=60) for orbitals in (False, True))
    assert with_orbitals < 0.7 * without


def schnet(cutoff: float = 3.0) -> SchNetEnergies:
    return SchNetEnergies(["H", "C"], cutoff, hidden_channels=16, num_interactions=2, num_gaussians=8)


def test_schnet_passes_the_battery(dtype: torch.dtype) -> None:
    potential = Potential(schnet())
    randomize(potential)
    assert_potential(potential, derivatives=1)
    with pytest.raises(AssertionError, match=r"a neighbour vanishes with power (1\.9|2\.0)"):
        assert_smooth_at_cutoff(potential, derivatives=2)


def test_schnet_trains_and_is_saved(tmp_path: Path) -> None:
    file = tmp_path / "crystals.extxyz"
    write(file, [rattled_crystal(seed) for seed in range(20)])
    errors = []
    for epochs in (1, 30):
        torch.manual_seed(0)
        task = train(SchNetEnergies(ELEMENTS, CUTOFF, 16, 2, 8), file, epochs, enable_progress_bar=False)
        metrics = task.trainer.callback_metrics
        errors.append([float(metrics["train/" + with_unit(f"{name}_rmse")]) for name in ("energy_per_atom", "forces")])
    assert errors[1][0] < 0.6 * errors[0][0]
    assert errors[1][1] < 0.95 * errors[0][1]
    data = from_ase(rattled_crystal(20), CUTOFF)
    expected = task.potential.eval()(data)
    save_potential(task.potential, tmp_path / "schnet.pt")
    loaded = load_potential(tmp_path / "schnet.pt")
    assert isinstance(loaded.model, SchNetEnergies)
    for key, value in loaded(data).items():
        assert_close(value, expected[key], 1e-12, key)
