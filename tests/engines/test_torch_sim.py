"""The model for torch-sim: its own validation, the calculator's numbers, and batched relaxation and dynamics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANNCalculator, Potential, save_potential
from equireann_pyg.engines import TorchSimModel
from tests.engines.structures import ELEMENTS, crystals, molecules, potential, slabs
from tests.test_calculator import SmoothLennardJones

ts: Any = pytest.importorskip("torch_sim", reason="torch-sim is an extra: pip install equireann_pyg[engines]")
CPU = torch.device("cpu")


def state_of(frames: list[Atoms], dtype: torch.dtype = torch.float64) -> Any:
    return ts.io.atoms_to_state(frames, CPU, dtype)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_torch_sim_finds_nothing_wrong(kind: torch.dtype) -> None:
    from torch_sim.models.interface import ModelInterface, validate_model_outputs

    model = TorchSimModel(potential(("H", "C", "Mg", "Si", "Fe")), compute_forces=False, compute_stress=False)
    assert isinstance(model, ModelInterface)
    validate_model_outputs(model, CPU, kind)
    assert model.compute_forces
    assert model.compute_stress
    assert (model.device, model.dtype, model.memory_scales_with) == (CPU, torch.float64, "n_atoms_x_density")


@pytest.mark.parametrize("frames", [molecules, crystals])
def test_numbers_of_the_calculator(frames: Callable[[], list[Atoms]], tmp_path: Path) -> None:
    found = frames()
    save_potential(potential(ELEMENTS), tmp_path / "p.ckpt")
    output = TorchSimModel(tmp_path / "p.ckpt")(state_of(found))
    calculator, start = EquiREANNCalculator(tmp_path / "p.ckpt"), 0
    for number, atoms in enumerate(found):
        atoms.calc = calculator
        rows = slice(start, start + len(atoms))
        start += len(atoms)
        np.testing.assert_allclose(output["energy"][number], atoms.get_potential_energy(), rtol=1e-10)
        np.testing.assert_allclose(output["energies"][rows], atoms.get_potential_energies(), rtol=1e-10)
        np.testing.assert_allclose(output["forces"][rows], atoms.get_forces(), rtol=0, atol=1e-10)
        if atoms.pbc.all():
            np.testing.assert_allclose(output["stress"][number], atoms.get_stress(voigt=False), rtol=0, atol=1e-10)
            assert np.abs(atoms.get_stress()).max() > 1e-4
    assert float(output["forces"].abs().max()) > 0.01


def test_fields_of_a_mapping_and_periodicity_of_slabs() -> None:
    found, made = slabs(), potential(ELEMENTS)
    state = {name: getattr(state_of(found), name) for name in ("positions", "cell", "atomic_numbers", "system_idx")}
    slab, crystal = (TorchSimModel(made)(state | {"pbc": pbc}) for pbc in (torch.tensor([True, True, False]), True))
    found[0].calc = EquiREANNCalculator(made)
    size = len(found[0])
    np.testing.assert_allclose(slab["forces"][:size], found[0].get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(crystal["forces"], slab["forces"], rtol=0, atol=1e-10)  # with vacuum between
    state = {name: value[:size] for name, value in state.items() if name not in ("cell", "system_idx")}
    alone = TorchSimModel(made)(state | {"cell": torch.tensor(found[0].cell.array.T), "system_idx": None, "pbc": True})
    np.testing.assert_allclose(alone["energy"], slab["energy"][:1], rtol=1e-12)


def test_a_slab_that_counts_as_open_is_no_secret() -> None:
    """torch-sim's own states have no periodicity for it."""
    state = state_of(slabs()[:1])
    assert not torch.as_tensor(state.pbc).any()
    with pytest.warns(UserWarning, match=r"computed as open ones.*make a slab periodic"):
        TorchSimModel(potential(ELEMENTS))(state)


def test_results_have_the_type_of_the_state_and_what_was_asked_for() -> None:
    made, found = potential(ELEMENTS), crystals()
    output = TorchSimModel(made, compute_forces=False, compute_stress=False)(state_of(found, torch.float32))
    assert set(output) == {"energy", "energies"}
    assert output["energy"].dtype == torch.float32
    np.testing.assert_allclose(output["energy"], TorchSimModel(made)(state_of(found))["energy"], rtol=1e-5)


def relaxed(frames: list[Atoms], model: TorchSimModel, tolerance: float) -> Any:
    converged = ts.generate_force_convergence_fn(tolerance, include_cell_forces=False)
    return ts.optimize(frames, model, optimizer=ts.optimizers.fire, convergence_fn=converged, max_steps=1000)


def test_batched_relaxation_ends_in_known_minima() -> None:
    pairs = {2: 1, 3: 3, 4: 6}  # pairs of touching atoms in the best cluster, each worth -0.1 eV
    rng = np.random.default_rng(0)
    shape = 1.85 * np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) / np.sqrt(2)
    clusters = [Atoms(f"Ar{size}", shape[:size] + 0.1 * rng.normal(size=(size, 3))) for size in pairs]
    model = TorchSimModel(Potential(SmoothLennardJones(onset=5.0)), compute_stress=False)
    state = relaxed(clusters, model, 1e-4)
    np.testing.assert_allclose(state.energy, [-0.1 * number for number in pairs.values()], rtol=1e-6)
    assert float(model(state_of(clusters))["forces"].abs().max()) > 0.05  # they had somewhere to go


def test_steps_of_dynamics_are_those_of_ase() -> None:
    made, found, step = potential(ELEMENTS, scale=0.1), molecules(), 0.04
    model = TorchSimModel(made, compute_stress=False)
    state = state_of(found)
    kT, dt = (torch.tensor(value, dtype=torch.float64) for value in (0.02, step))
    start, advance = ts.nve(model=model, kT=kT, dt=dt)
    state = start(state)
    momenta = state.momenta.clone().numpy()
    for _ in range(10):
        state = advance(state)
    calculator, first = EquiREANNCalculator(made), 0
    for atoms in found:
        rows = slice(first, first + len(atoms))
        first += len(atoms)
        atoms.calc, before = calculator, atoms.positions.copy()
        atoms.set_momenta(momenta[rows])
        VelocityVerlet(atoms, timestep=step).run(10)
        assert np.abs(atoms.positions - before).max() > 0.005
        np.testing.assert_allclose(state.positions[rows], atoms.positions, rtol=0, atol=1e-10)


def test_batched_dynamics_conserves_energy() -> None:
    frames = crystals()
    model = TorchSimModel(potential(ELEMENTS, scale=0.1))

    def run(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        state = ts.integrate(frames, model, integrator=ts.nve, n_steps=steps, temperature=600.0, timestep=2e-4)  # in ps
        twice = state.momenta.square().sum(1) / state.masses
        kinetic = 0.5 * torch.zeros(len(frames), dtype=torch.float64).index_add(0, state.system_idx, twice)
        return state.energy, kinetic

    (before, kinetic), (after, later) = run(1), run(60)
    moved = (later - kinetic)[[0, 2]].abs()  # the single atom of the other crystal feels no force
    assert float(moved.min()) > 1e-4
    assert float((after + later - before - kinetic).abs().max()) < 0.02 * float(moved.min())


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown element"):
        TorchSimModel(potential(("H", "C")))(state_of(molecules()))
