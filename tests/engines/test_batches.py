"""Many structures as one graph: edges and results of each are those it has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from equireann_pyg import EquiREANNCalculator, Potential, compile_potential, radius_graph, save_potential
from equireann_pyg.engines import BatchEvaluator, Structures
from equireann_pyg.engines.batches import WIDE, batched_graph
from equireann_pyg.engines.needed import needed
from tests.engines.structures import CUTOFF, ELEMENTS, crystals, molecules, potential, slabs
from tests.test_calculator import SmoothLennardJones


def structures_of(frames: list[Atoms]) -> Structures:
    return Structures(
        z=torch.from_numpy(np.concatenate([atoms.numbers for atoms in frames])),
        pos=torch.from_numpy(np.concatenate([atoms.positions for atoms in frames])),
        cell=torch.from_numpy(np.stack([atoms.cell.array for atoms in frames])),
        pbc=torch.from_numpy(frames[0].pbc),
        batch=torch.repeat_interleave(torch.tensor([len(atoms) for atoms in frames])),
    )


def edges_of(edge_index: torch.Tensor, edge_shift: torch.Tensor) -> list[tuple[int, ...]]:
    return sorted(map(tuple, torch.cat([edge_index.T, edge_shift.long()], dim=1).tolist()))


def wide() -> list[Atoms]:
    """A pair of atoms far apart, between molecules."""
    return [*molecules()[:2], Atoms("CH", [[0, 0, 0], [0, 0, 1.1 * WIDE * CUTOFF]]), *molecules()[2:]]


def unequal() -> list[Atoms]:
    """Open structures that cannot be set apart within reach of one search."""
    return [Atoms("H2", [[0, 0, 0], 0.6 * WIDE * CUTOFF * np.ones(3)]), *molecules()[:3] * 12]


@pytest.mark.parametrize("frames", [molecules, crystals, slabs, wide, unequal])
def test_edges_are_those_of_each_structure(frames: Callable[[], list[Atoms]]) -> None:
    found = frames()
    graph = batched_graph(structures_of(found), CUTOFF)
    expected, start = [], 0
    for atoms in found:
        arguments = torch.tensor(atoms.positions), CUTOFF, torch.tensor(atoms.cell.array), torch.tensor(atoms.pbc)
        edge_index, shift = radius_graph(*arguments)
        expected += edges_of(edge_index + start, shift)
        start += len(atoms)
    assert len(expected) > 20
    assert edges_of(graph.edge_index, graph.edge_shift) == sorted(expected)
    assert bool((graph.edge_index[1].diff() >= 0).all())


@pytest.mark.parametrize("frames", [molecules, crystals, slabs, wide])
def test_results_are_those_of_the_calculator(frames: Callable[[], list[Atoms]]) -> None:
    found, made = frames(), potential(ELEMENTS)
    output = BatchEvaluator(made)(structures_of(found))
    calculator, start = EquiREANNCalculator(made), 0
    for number, atoms in enumerate(found):
        atoms.calc = calculator
        rows = slice(start, start + len(atoms))
        start += len(atoms)
        assert float(output["energy"][number]) == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        np.testing.assert_allclose(output["forces"][rows], atoms.get_forces(), rtol=0, atol=1e-11)
        np.testing.assert_allclose(output["atomic_energy"][rows], atoms.get_potential_energies(), rtol=1e-12)
        if atoms.pbc.any():
            np.testing.assert_allclose(output["stress"][number], atoms.get_stress(voigt=False), rtol=0, atol=1e-13)
            assert np.abs(atoms.get_stress()).max() > 1e-4
        else:
            assert bool(output["stress"][number].isnan().all())
    assert float(output["forces"].abs().max()) > 0.01


def test_files_and_other_arithmetic(tmp_path: Path) -> None:
    made, found = potential(ELEMENTS, dtype=torch.float32), structures_of(molecules())
    save_potential(made, tmp_path / "p.ckpt")
    expected = BatchEvaluator(made)(found, stress=False)
    assert "stress" not in expected
    assert torch.equal(BatchEvaluator(str(tmp_path / "p.ckpt"))(found)["forces"], expected["forces"])
    double = BatchEvaluator(tmp_path / "p.ckpt", dtype="float64")
    assert double.whole.dtype == torch.float64
    assert made.dtype == torch.float32
    scale = float(expected["forces"].abs().max())
    assert 1e-9 * scale < float((double(found)["forces"] - expected["forces"]).abs().max()) < 1e-4 * scale


@pytest.mark.slow
def test_a_compiled_potential() -> None:
    made, rng = Potential(SmoothLennardJones()), np.random.default_rng(0)
    found = structures_of([Atoms(f"Ar{size}", rng.uniform(0, 4, (size, 3))) for size in (2, 5, 3)])
    expected, output = (BatchEvaluator(kind)(found, stress=False) for kind in (made, compile_potential(made)))
    scale = float(expected["forces"].abs().max())
    assert scale > 0.01
    np.testing.assert_allclose(output["forces"], expected["forces"], rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(output["energy"], expected["energy"], rtol=1e-10)


def test_what_is_refused(tmp_path: Path) -> None:
    evaluate = BatchEvaluator(potential(("H", "C")))
    with pytest.raises(ValueError, match="unknown element O"):
        evaluate(structures_of(molecules()))
    first, second = molecules()[0], molecules()[0]
    second.positions[3] = second.positions[1]
    with pytest.raises(ValueError, match=r"structure 1: atoms 6 \(H\), 8 \(H\) of the batch coincide"):
        evaluate(structures_of([first, second]))
    second.positions[3] = np.nan
    with pytest.raises(ValueError, match="structure 1: positions of atom 3 are not finite"):
        evaluate(structures_of([first, second]))
    flat = crystals()[:2]
    flat[1].cell[2] = flat[1].cell[1]
    with pytest.raises(ValueError, match=r"structure 1: .*no volume"):
        evaluate(structures_of(flat))
    with pytest.raises(ValueError, match="one structure at a time"):
        BatchEvaluator(tmp_path / "best.pt2")
    with pytest.raises(FileNotFoundError):
        BatchEvaluator(tmp_path / "best.ckpt")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ImportError, match=r'no_such_engine.*pip install "equireann_pyg\[engines\]"'):
        needed("no_such_engine.inside")
