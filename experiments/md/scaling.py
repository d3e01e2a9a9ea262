"""One crystal on one and on two processes: time, memory and messages, and what they let one expect of more.

    python -m experiments.md.scaling [--atoms 2048] [--steps 30] [--out FOLDER]

Copper, energy, forces and stress by EquiREANN-plus-s and -m in float32 with random weights, one thread for each process.
Strong scaling divides the atoms, weak scaling has as many for each process. Times are the shortest of the steps:
``messages ms`` is the part of ``step ms`` in which the process sends or waits, ``cpu ms`` what it computes for, whatever else
the machine does. Writes ``scaling.csv`` and, by the model of :func:`expected`, ``scaling_expected.csv``.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from ase.build import bulk
from torch_geometric.data import Data

from equireann_pyg import EquiREANNPlus, Potential
from equireann_pyg.engines import DomainPotential
from equireann_pyg.engines.domains.processes import Processes
from equireann_pyg.files import replacing
from equireann_pyg.testing import randomize

CUTOFF, CONSTANT, SKIN = 5.0, 3.61, 0.5
WIDTHS = {"plus-s": {"num_radial": 64, "num_products": 48}, "plus-m": {"num_radial": 96, "num_products": 64}}
CASES = (("strong", 1, 1), ("strong", 2, 1), ("weak", 2, 2))
"""Kind of scaling, number of processes, and how many times the atoms."""

COLUMNS = (
    *("model", "scaling", "processes", "atoms", "own", "ghosts", "step ms", "cpu ms", "messages ms", "share"),
    *("memory MB", "exchanges", "MB an exchange", "latency us", "GB/s"),
)
EXPECTED = (
    "model",
    "atoms",
    "processes",
    "ghosts",
    "compute ms",
    "exchanges ms",
    "positions ms",
    "step ms",
    "efficiency",
)
Row = dict[str, Any]


def potential_of(name: str) -> Potential:
    """EquiREANN-plus of a size, with random weights."""
    torch.manual_seed(0)
    made = Potential(EquiREANNPlus(["Cu"], CUTOFF, **WIDTHS[name]))
    randomize(made.model)
    return made.eval().requires_grad_(False)


def crystal(atoms: int, times: int) -> Data:
    """A rattled crystal of about so many atoms, repeated along one direction."""
    side = max(1, round((atoms / 4) ** (1 / 3)))
    made = bulk("Cu", "fcc", a=CONSTANT, cubic=True) * (times * side, side, side)
    made.rattle(0.1, seed=0)
    return Data(
        z=torch.tensor(made.numbers, dtype=torch.int64),
        pos=torch.tensor(made.positions),
        cell=torch.tensor(made.cell.array).unsqueeze(0),
        pbc=torch.ones(1, 3, dtype=torch.bool),
    )


class Stopwatch:
    """Times what processes send, and counts it."""

    def __init__(self, processes: Processes) -> None:
        self.seconds, self.sizes = 0.0, []  # type: ignore[var-annotated]
        for name in ("swap", "gather", "broadcast"):
            setattr(processes, name, self._timed(getattr(processes, name), name))

    def _timed(self, function: Callable[..., torch.Tensor], name: str) -> Callable[..., torch.Tensor]:
        def timed(tensor: torch.Tensor, *arguments: Any) -> torch.Tensor:
            start = time.perf_counter()
            made = function(tensor, *arguments)
            self.seconds += time.perf_counter() - start
            if name == "swap":
                self.sizes.append(tensor.numel() * tensor.element_size())
            return made

        return timed


def link(processes: Processes) -> tuple[float, float]:
    """Latency in s and bandwidth in bytes/s of an exchange between neighbours, the shortest of several."""
    times = []
    for rows in (1, 200_000):
        counts = [rows if rank != processes.rank else 0 for rank in range(processes.size)]
        block, taken = torch.ones(sum(counts), 16), []
        for _ in range(20):
            start = time.perf_counter()
            processes.swap(block, counts, counts)
            taken.append(time.perf_counter() - start)
        times.append(min(taken))
    return times[0], block.numel() * 4 / max(times[1] - times[0], 1e-9)


def measured(name: str, atoms: int, times: int, steps: int) -> Row:
    """Row of this process."""
    potential, data = DomainPotential(potential_of(name), skin=SKIN), crystal(atoms, times)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    potential(data)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    watch, taken = Stopwatch(potential.processes), []
    for step in range(steps):
        data.pos = data.pos + 1e-3 * (-1) ** step
        watch.seconds, watch.sizes = 0.0, []
        start, cpu = time.perf_counter(), time.process_time()
        potential(data)
        taken.append((time.perf_counter() - start, time.process_time() - cpu, watch.seconds))
    wall, _, messages = min(taken)
    sizes = list(watch.sizes)  # of one step
    latency, bandwidth = link(potential.processes) if potential.processes.size > 1 else (0.0, 0.0)
    listed = potential.listed
    assert listed is not None
    several = potential.processes.size > 1
    return {
        **{"atoms": len(data.z), "own": listed.counts[potential.processes.rank], "ghosts": listed.ghosts},
        **{"step ms": 1e3 * wall, "cpu ms": 1e3 * min(cpu for _, cpu, _ in taken), "messages ms": 1e3 * messages},
        **{"share": messages / wall, "memory MB": memory / 1024, "exchanges": len(sizes) * several},
        **{"MB an exchange": 1e-6 * max(sizes, default=0) * several},
        **{"latency us": 1e6 * latency, "GB/s": 1e-9 * bandwidth},
    }


def _process(rank: int, size: int, folder: str, results: Any, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    row = measured(*arguments)
    if rank == 0:
        results.put(row)
    if size > 1:
        dist.barrier()


def run(size: int, *arguments: Any) -> Row:
    """Row of the first of several processes, all of them new.

    Raises:
        RuntimeError: if one of them fails.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory() as folder:
        results = context.SimpleQueue()
        work = [(rank, size, folder, results, arguments) for rank in range(size)]
        running = [context.Process(target=_process, args=words) for words in work]
        for process in running:
            process.start()
        for process in running:
            process.join()
        if any(process.exitcode for process in running):
            raise RuntimeError("a process has failed, see above")
        return results.get()


def kappa_of(one: Row, *several: Row) -> float:
    """What a ghost costs relative to an atom, the mean of several measurements beside one without ghosts."""
    atom = one["cpu ms"] / one["atoms"]
    return fmean((row["cpu ms"] / atom - row["own"]) / row["ghosts"] for row in several)


def expected(row: Row, atoms: int, processes: int, latency: float, bandwidth: float) -> Row:
    r"""A step of a crystal on several processes, each with a core of its own.

    .. math::
        t = \Bigl(\frac{N}{P} + \kappa g\Bigr) t_1 + x \Bigl(l + \frac{g\, b}{w}\Bigr) + 3 l + \frac{56 N}{w}, \qquad
        g = \rho\, [(L + 2 r)^3 - L^3], \qquad L^3 = \frac{N}{P \rho}

    with the CPU time :math:`t_1` of an atom and :math:`\kappa t_1` of a ghost, whose sums over neighbours are made for nothing,
    x exchanges of b bytes a ghost, latency l and bandwidth w of a link, and all positions, energies and forces, 56 bytes an
    atom, to everybody. A part is a cube with ghosts on all sides, within cutoff and skin r.

    Args:
        row: of one process, with ``exchanges``, ``bytes`` of a ghost and its ``kappa``.
        atoms: their number N.
        processes: their number P.
        latency: l in s.
        bandwidth: w in bytes/s.
    """
    density, reach = 4 / CONSTANT**3, CUTOFF + SKIN
    side = (atoms / processes / density) ** (1 / 3)
    ghosts = min(density * ((side + 2 * reach) ** 3 - side**3), atoms * (1 - 1 / processes))
    alone = 1e-3 * row["cpu ms"] / row["atoms"] * atoms
    several = processes > 1
    compute = alone / processes * (1 + several * row["kappa"] * ghosts * processes / atoms)
    exchanges = several * row["exchanges"] * (latency + ghosts * row["bytes"] / bandwidth)
    positions = several * (3 * latency + 56 * atoms / bandwidth)
    step = compute + exchanges + positions
    return {
        **{"model": row["model"], "atoms": atoms, "processes": processes, "ghosts": round(ghosts)},
        **{"compute ms": 1e3 * compute, "exchanges ms": 1e3 * exchanges, "positions ms": 1e3 * positions},
        **{"step ms": 1e3 * step, "efficiency": alone / processes / step},
    }


def write(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write and print a table."""
    text = [{key: f"{row[key]:.3g}" if isinstance(row[key], float) else row[key] for key in columns} for row in rows]
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(text)
    widths = [max(len(key), *(len(str(row[key])) for row in text)) for key in columns]
    for cells in (columns, *([str(row[key]) for key in columns] for row in text)):
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=864)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args(arguments)
    rows: list[Row] = []
    guesses: list[Row] = []
    for name in WIDTHS:
        for scaling, size, times in CASES:
            made = run(size, name, args.atoms, times, args.steps)
            rows.append({"model": name, "scaling": scaling, "processes": size, **made})
        one, _, weak = rows[-3:]
        per_ghost = 1e6 * weak["MB an exchange"] / weak["ghosts"]
        one = {**one, "exchanges": weak["exchanges"], "bytes": per_ghost, "kappa": kappa_of(*rows[-3:])}
        for atoms, processes in ((100_000, 1), (100_000, 8), (100_000, 64), (1_000_000, 8), (1_000_000, 64)):
            guesses.append(expected(one, atoms, processes, 1e-6 * weak["latency us"], 1e9 * weak["GB/s"]))
    write(args.out / "scaling.csv", COLUMNS, rows)
    print()
    write(args.out / "scaling_expected.csv", EXPECTED, guesses)


if __name__ == "__main__":
    main()
