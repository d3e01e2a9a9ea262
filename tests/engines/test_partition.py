"""Parts of structures have equal numbers of atoms, and together all edges; what one process does without others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from equireann_pyg import BlockPotential, Potential, compile_potential, from_ase, radius_graph, save_potential
from equireann_pyg.engines import DomainCalculator, DomainPotential, calculator_of_domains
from equireann_pyg.engines.domains.neighbours import part_of
from equireann_pyg.engines.domains.partition import divided, frame_of
from equireann_pyg.engines.domains.processes import Processes
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.potential.checkpoint import potential_state
from equireann_pyg.properties import Dipole
from tests.engines.domains import CUTOFF, assert_same, potential, structures

STRUCTURES = dict(structures())
ROOT = Path(__file__).parents[2]


def tensors(atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), torch.tensor(atoms.pbc)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 7])
def test_parts_are_equal_and_compact(parts: int) -> None:
    atoms = bulk("Cu", cubic=True) * (8, 3, 2)
    atoms.rattle(0.05, seed=0)
    owner = divided(frame_of(*tensors(atoms)).place, parts)
    counts = owner.bincount(minlength=parts)
    assert int(counts.max() - counts.min()) <= 2
    along = [atoms.get_scaled_positions()[owner.numpy() == part, 0] for part in range(parts)]
    if parts > 1:
        assert max(np.ptp(x) for x in along) < 0.8  # the longest direction is cut
    assert divided(frame_of(*tensors(atoms[:2])).place, 5).bincount(minlength=5).sum() == 2


@pytest.mark.parametrize("name", STRUCTURES)
def test_coordinates_are_distances_from_the_faces(name: str) -> None:
    atoms = STRUCTURES[name]
    pos, cell, pbc = tensors(atoms)
    frame = frame_of(pos, cell, pbc)
    assert bool((frame.pos + frame.wraps @ cell - pos).abs().max() < 1e-12)
    assert bool((frame.place[:, pbc] >= 0).all() and (frame.place[:, pbc] <= frame.heights[pbc]).all())
    apart = (frame.place[:, None] - frame.place).abs().amax(2)  # -> [N, N]
    assert bool((apart <= torch.cdist(frame.pos, frame.pos) + 1e-6).all())
    if bool(pbc.all()):
        assert float(frame.heights.prod()) <= atoms.cell.volume * (1 + 1e-12)


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("name", STRUCTURES)
def test_all_edges_end_in_one_part(name: str, parts: int) -> None:
    """Those of all parts together are those of the structure, with the same shifts; no atom is a node twice."""
    atoms = STRUCTURES[name]
    pos, cell, pbc = tensors(atoms)
    frame = frame_of(pos, cell, pbc)
    owner, found = divided(frame.place, parts), []
    for rank in range(parts):
        part = part_of(frame, cell, owner, rank, CUTOFF)
        assert torch.equal(part.own, (owner == rank).nonzero().squeeze(1))
        assert len(part.nodes.unique()) == len(part.nodes)
        assert not bool((owner[part.ghosts] == rank).any())
        assert bool((owner[part.ghosts].diff() >= 0).all())
        assert bool((part.edge_index[1] >= len(part.ghosts)).all())
        assert bool((part.edge_index[1].diff() >= 0).all())
        found.append(torch.cat([part.nodes[part.edge_index], part.edge_shift.T.long()]))
    edges = torch.cat(found, dim=1).T.unique(dim=0)
    edge_index, edge_shift = radius_graph(pos, CUTOFF, cell, pbc)
    expected = torch.cat([edge_index, edge_shift.T.long()]).T.unique(dim=0)
    assert torch.equal(edges, expected)
    assert len(expected) > 1 or name == "isolated"


def test_one_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Processes) -> None:
        raise AssertionError("sent")

    monkeypatch.setattr(Processes, "_sending", never)
    whole = potential("plus")
    state = potential_state(whole)["state_dict"]
    for block_size in (None, 2):
        calculator = calculator_of_domains(whole, block_size=block_size)
        for atoms in (STRUCTURES["crystal"], STRUCTURES["cluster"]):
            assert_same(calculator, EquiREANNCalculator(whole), atoms, 1e-12)
        assert calculator.potential.listed.halo is None
        assert calculator.todict()["block_size"] == block_size
    assert whole.model.block_size is None
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_it_follows_the_potential_and_takes_one_in_blocks() -> None:
    whole, atoms = potential(), STRUCTURES["slab"]
    graph = from_ase(atoms, CUTOFF)
    domains = DomainPotential(BlockPotential(whole, 2))
    assert domains.block_size == 2
    assert set(domains(graph)) == {"energy", "atomic_energy", "forces", "stress"}
    assert set(domains(graph, forces=False, stress=False)) == {"energy", "atomic_energy"}
    before = float(domains(graph)["energy"])
    whole.float()
    whole.scale.fill_(1.3)
    after = float(domains(graph)["energy"])
    assert abs(after - before) > 1e-3
    assert after == pytest.approx(float(whole(graph)["energy"]), rel=1e-6)


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    class Other(torch.nn.Module):
        cutoff, elements = 3.0, (29,)

    with pytest.raises(TypeError, match="Other cannot be evaluated in parts"):
        DomainPotential(Potential(Other()))
    with pytest.raises(ValueError, match="energy, forces and stress only: use a potential without Dipole"):
        DomainPotential(Potential(potential().model, [Dipole()]))
    with pytest.raises(TypeError, match="CompiledPotential cannot be divided among processes"):
        DomainPotential(compile_potential(potential()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="skin: expected 0 or more"):
        DomainPotential(potential(), skin=-1)
    with pytest.raises(ValueError, match="block_size: expected 1 or more atoms, got 0"):
        DomainPotential(potential(), block_size=0)
    with pytest.raises(RuntimeError, match="expected another process than the first one"):
        DomainCalculator(potential()).serve()


SCRIPT = """
from ase.build import bulk
from equireann_pyg.engines import calculator_of_domains

calculator = calculator_of_domains("potential.pt", dtype="float64")
if calculator.rank > 0:
    calculator.serve()
else:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    atoms.calc = calculator
    print(calculator.potential.processes.size, repr(atoms.get_potential_energy()))
    calculator.close()
"""


@pytest.mark.slow
def test_torchrun_starts_a_script(tmp_path: Path) -> None:
    save_potential(potential(), tmp_path / "potential.pt")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    size, energy = done.stdout.split()
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    assert size == "2"
    assert float(energy) == pytest.approx(EquiREANNCalculator(potential()).get_potential_energy(atoms), rel=1e-12)
