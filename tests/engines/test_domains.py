"""One structure on several processes gives the numbers of one process, and no process is left waiting."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from equireann_pyg.engines.domains.calculator import DomainCalculator
from equireann_pyg.engines.domains.processes import LostProcess, Processes
from equireann_pyg.inference.calculator import EquiREANNCalculator
from tests.engines.domains import KINDS, assert_same, potential, structures, together

GOOD = bulk("Cu", cubic=True) * (2, 1, 1)


def compare(rank: int, folder: Path, sizes: tuple[int, ...]) -> None:
    """Every model and structure on groups of several sizes, at once and in blocks."""
    for size in sizes:
        group = dist.new_group(range(size))
        if rank >= size:
            continue
        for kind in KINDS if size > 2 else ("plus",):
            whole = potential(kind)
            expected = EquiREANNCalculator(whole)
            for block_size in (None, 2) if kind in ("equireann", "plus") else (None,):
                calculator = DomainCalculator(whole, block_size=block_size, group=group)
                for _, atoms in structures():
                    assert_same(calculator, expected, atoms)


def refuse(rank: int, folder: Path) -> None:
    """Every error is raised by all, who go on afterwards."""
    calculator = DomainCalculator(potential(), skin=2.0)
    expected = EquiREANNCalculator(potential())
    for name, what in (
        ("unknown", "unknown element C"),
        ("infinite", r"positions of atom 3 are not finite \(Cu\)"),
        ("coincident", r"atoms 1 and 6 coincide"),
        ("flat", "no volume"),
        ("other", "process 1 has another structure than the first one"),
    ):
        assert_same(calculator, expected, GOOD)
        atoms = GOOD.copy()
        atoms.rattle(0.01, seed=1)  # new to all: none has results at hand
        if name == "unknown":
            atoms.numbers[2] = 6
        elif name == "infinite":
            atoms.positions[3, 1] = np.nan
        elif name == "coincident":
            atoms.positions[6] = atoms.positions[1] + atoms.cell[0]
        elif name == "flat":
            atoms.cell[2] = 0
        elif rank == 1:
            del atoms[0]
        with pytest.raises(ValueError, match=what):
            calculator.get_property("forces", atoms)
        assert not calculator.results
    near = Atoms("Cu8", GOOD.positions, cell=GOOD.cell, pbc=True)
    near.positions[5] = near.positions[2] + [0.9, 0, 0]
    assert_same(calculator, expected, near)
    listed = calculator.potential.listed
    near.positions[5, 0] -= 0.9  # less than half of the skin
    with pytest.raises(ValueError, match=r"atoms \d \(Cu\), \d \(Cu\) coincide"):
        calculator.get_property("energy", near)
    assert calculator.potential.listed is listed
    mine = potential()
    mine.model.coefficient.data += float(rank == 2)
    with pytest.raises(ValueError, match="different potentials"):
        DomainCalculator(mine)


def migrate(rank: int, folder: Path, steps: int) -> None:
    """Atoms of a drifting crystal change their process; only the first process knows it."""
    whole = potential("reann")
    whole.scale.fill_(0.05)
    calculator = DomainCalculator(whole, skin=0.4)
    if rank:
        calculator.serve()
        return
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.rattle(0.05, seed=0)
    velocities = 0.02 * np.random.default_rng(0).normal(size=(16, 3)) + [0.15, 0.03, 0.0]
    atoms.set_velocities(velocities)
    atoms.calc, expected = calculator, EquiREANNCalculator(whole, skin=0.4)
    first = owners(calculator, atoms)
    changed, searches, total, kinetic = np.zeros(16, bool), set(), [], []
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    for _ in range(steps):
        dynamics.run(1)
        assert_same(calculator, expected, atoms)
        changed |= owners(calculator, atoms) != first
        searches.add(calculator.potential.listed.structure.pos.data_ptr())
        kinetic.append(atoms.get_kinetic_energy())
        total.append(atoms.get_potential_energy() + kinetic[-1])
    calculator.close()
    assert changed.sum() > 8
    assert 3 < len(searches) < steps / 2
    assert np.std(kinetic) > 0.01
    assert np.ptp(total) < 0.05 * np.ptp(kinetic)


def owners(calculator: DomainCalculator, atoms: Atoms) -> np.ndarray:
    """Process of each atom."""
    calculator.get_property("energy", atoms)
    listed = calculator.potential.listed
    owner = np.empty(len(atoms), int)
    owner[listed.order.numpy()] = np.repeat(np.arange(len(listed.counts)), listed.counts)
    return owner


def all_of_it(rank: int, folder: Path) -> None:
    compare(rank, folder, (2, 3))
    refuse(rank, folder)
    migrate(rank, folder, 60)


def test_several_processes_are_one(tmp_path: Path) -> None:
    """Numbers, errors and dynamics on two and three processes."""
    assert together(3, tmp_path, all_of_it) == ["", "", ""]


@pytest.mark.slow
def test_four_processes_and_longer_dynamics(tmp_path: Path) -> None:
    for name, task, arguments in (("compare", compare, ((4,),)), ("migrate", migrate, (600,))):
        (tmp_path / name).mkdir()
        assert together(4, tmp_path / name, task, *arguments, limit=900) == [""] * 4


def fail(rank: int, folder: Path, how: str) -> None:
    """The last process fails amidst its messages; the others say that they have lost it."""
    calculator = DomainCalculator(potential(), timeout=20)
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    calculator.get_property("forces", atoms)
    atoms.rattle(0.01, seed=0)
    if rank == 2:
        swap, calls = Processes.swap, []

        def failing(self: Processes, *arguments: Any) -> torch.Tensor:
            calls.append(how)
            if len(calls) == 2:
                if how == "memory":
                    raise MemoryError("no more memory")
                os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            return swap(self, *arguments)

        Processes.swap = failing  # type: ignore[method-assign]
        with pytest.raises(MemoryError):
            calculator.get_property("forces", atoms)
    else:
        with pytest.raises(
            LostProcess, match=rf"process {rank} of 3 waits in vain: another one has ended, or does not"
        ):
            calculator.get_property("forces", atoms)
    with pytest.raises(LostProcess, match="start all of them again"):
        calculator.get_property("forces", atoms)


def test_no_process_waits_for_one_that_was_killed(tmp_path: Path) -> None:
    assert together(3, tmp_path, fail, "killed", limit=120) == ["", "", f"exit {-signal.SIGKILL}"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["memory", "stopped"])
def test_no_process_waits_for_one_that_fails_or_stops(how: str, tmp_path: Path) -> None:
    outcomes = together(3, tmp_path, fail, how, limit=90)
    assert outcomes == ["", "", "" if how == "memory" else "hangs"]
