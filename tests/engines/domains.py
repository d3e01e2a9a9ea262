"""What tests of several processes do in each of them, and what starts these."""

from __future__ import annotations

import faulthandler
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ase import Atoms
from ase.build import bulk, fcc111

from equireann_pyg import EANN, REANN, EquiREANN, EquiREANNPlus, Potential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.nn import ZBL
from equireann_pyg.testing import randomize

CUTOFF = 3.0
KINDS = ("eann", "reann", "equireann", "plus")


def potential(kind: str = "equireann", dtype: torch.dtype = torch.float64) -> Potential:
    """A small potential of copper and gold with random parameters, the same in every call."""
    torch.manual_seed(1)
    elements, small = ["Cu", "Au"], {"num_radial": 4, "num_density": 8, "hidden_channels": [8]}
    if kind == "plus":
        sizes = {"num_radial": 8, "num_products": 4, "num_messages": 3, "num_iterations": 2, "hidden_channels": [8]}
        model: torch.nn.Module = EquiREANNPlus(elements, CUTOFF, **sizes)
    else:
        model = {"eann": EANN, "reann": REANN, "equireann": EquiREANN}[kind](elements, CUTOFF, **small)
    randomize(model, seed=1)
    made = Potential(model.to(dtype), repulsion=ZBL(2.0))
    made.set_references({"Cu": -3.0, "Au": -4.0}, binding={29: -1.0, 79: -2.0})
    return made.eval()


def structures() -> Iterator[tuple[str, Atoms]]:
    """Crystals, skewed or smaller than the cutoff, a slab, a wire, clusters, and fewer atoms than processes."""
    crystal = bulk("Cu", cubic=True) * (3, 2, 2)
    crystal.rattle(0.1, seed=0)
    crystal.positions -= [4.0, 0.0, 21.0]  # beyond the cell
    crystal.numbers[::3] = 79
    yield "crystal", crystal
    skewed = bulk("Cu") * (3, 1, 1)
    skewed.rattle(0.05, seed=1)
    yield "skewed", skewed
    yield "one in a small cell", Atoms("Cu", cell=[[2.2, 0, 0], [0.7, 2.1, 0], [0.2, -0.5, 2.4]], pbc=True)
    slab = fcc111("Cu", (3, 2, 2), vacuum=5.0)
    slab.rattle(0.1, seed=2)
    yield "slab", slab
    yield "wire", Atoms("CuAuCu", [[0, 0, 0], [1.9, 0.2, 0], [4.2, 0, 0.3]], cell=[6, 0, 0], pbc=[True, False, False])
    yield "cluster", Atoms("Cu9", np.random.default_rng(0).uniform(0, 6, (9, 3)))
    yield "pairs far apart", Atoms("CuAuCu2", [[0, 0, 0], [2.2, 0, 0], [40, 0, 0], [40, 2.3, 0]])
    yield "isolated", Atoms("CuAu", [[0, 0, 0], [0, 9, 0]])


def assert_same(calculator: Any, expected: EquiREANNCalculator, atoms: Atoms, tolerance: float = 1e-10) -> None:
    """Energy, energies of the atoms, forces and stress, relative to the largest."""
    for name in ("energy", "energies", "forces", *(["stress"] if atoms.cell.rank == 3 else [])):
        value, reference = (np.asarray(each.get_property(name, atoms)) for each in (calculator, expected))
        assert value.shape == reference.shape
        np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * max(np.abs(reference).max(), 0.1))


Task = Callable[..., None]


def _process(
    rank: int, size: int, folder: Path, limit: float, timeout: float, task: Task, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(limit - 5, file=(folder / f"stack{rank}").open("w"))
    try:
        dist.init_process_group(
            "gloo", f"file://{folder}/meeting", rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
        )
        task(rank, folder, *arguments)
    except BaseException:
        (folder / f"error{rank}").write_text(traceback.format_exc())
        raise SystemExit(1) from None


def together(
    size: int, folder: Path, task: Task, *arguments: Any, limit: float = 300, timeout: float = 200
) -> list[str]:
    """Run a function on several processes.

    Args:
        size: number of processes.
        folder: where they meet, empty.
        task: called with the rank, the folder and ``arguments``.
        arguments: further ones.
        limit: seconds after which they are ended.
        timeout: seconds that they wait for each other.

    Returns:
        what each has failed by, empty where it has not; ``"hangs"`` if it had to be ended.
    """
    context = multiprocessing.get_context("forkserver")  # imports everything once
    context.set_forkserver_preload([__name__])
    work = [(rank, size, folder, limit, timeout, task, arguments) for rank in range(size)]
    running = [context.Process(target=_process, args=words) for words in work]
    for process in running:
        process.start()
    end, outcomes = time.monotonic() + limit, []
    for rank, process in enumerate(running):
        process.join(max(0.0, end - time.monotonic()))
        told = folder / f"error{rank}"
        outcome = told.read_text() if told.exists() else "" if process.exitcode == 0 else f"exit {process.exitcode}"
        outcomes.append("hangs" if process.exitcode is None else outcome)
        process.kill()
        process.join()
    return outcomes
