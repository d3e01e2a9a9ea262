"""A million atoms of copper in blocks: the memory that they should take, and what they do take."""

from __future__ import annotations

import time

import torch
from ase.build import bulk
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg import BlockPotential, Potential, radius_graph
from experiments.speed.cases import CUTOFF
from experiments.speed.paths import BLOCK_SIZE
from experiments.speed.report import Row

SIDE = 63  # cubic cells of four atoms: 1,000,188 atoms
CONSTANT = 3.61  # Angstrom
NEIGHBOURS = 44.6  # within 5 Angstrom of an atom of rattled fcc copper, on average


def lattice(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rattled positions ``[4 side^3, 3]`` and cell ``[3, 3]`` of copper, float64."""
    atoms = bulk("Cu", "fcc", a=CONSTANT, cubic=True).repeat(side)
    noise = torch.randn(len(atoms), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pos = torch.from_numpy(atoms.positions) + 0.1 * noise
    return pos.to(device), torch.from_numpy(atoms.cell.array.copy()).to(device)


def graph_of(pos: Tensor, cell: Tensor) -> Data:
    """Graph with the package's own list of neighbours, made on the device of the positions."""
    pbc = torch.ones(3, dtype=torch.bool)
    edge_index, edge_shift = radius_graph(pos, CUTOFF, cell, pbc)
    return Data(
        z=torch.full((len(pos),), 29, device=pos.device),
        pos=pos,
        cell=cell.unsqueeze(0),
        pbc=pbc.unsqueeze(0).to(pos.device),
        edge_index=edge_index,
        edge_shift=edge_shift.to(pos),
    )


def measure_side(side: int, potential: Potential, device: torch.device, seconds: float) -> list[Row]:
    """Rows of the list of neighbours and of the evaluation in blocks; prints the expected memory before."""
    pos, cell = lattice(side, device)
    evaluate, case = BlockPotential(potential.eval(), block_size=BLOCK_SIZE[device.type]), f"cu{len(pos)}"
    say = f"{case}: expected {1e-9 * evaluate.expected_bytes(len(pos), round(NEIGHBOURS * len(pos))):.1f} GB"
    print(f"{say} with {NEIGHBOURS} neighbours", flush=True)
    start = _now(device)
    data = graph_of(pos, cell)
    listed = _now(device) - start
    edges = data.edge_index.size(1)
    expected = evaluate.expected_bytes(len(pos), edges)
    print(f"{case}: {edges} edges after {listed:.1f} s, expected {1e-9 * expected:.1f} GB", flush=True)
    rows: list[Row] = [_row(case, "neighbours", "radius_graph", listed, len(pos), {"note": f"{edges} edges"})]
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    while len(times) < 4 and (len(times) < 2 or sum(times) < seconds):
        start = _now(device)
        output = evaluate(data, stress=False)
        times.append(_now(device) - start)
    if not all(bool(torch.isfinite(output[name]).all()) for name in ("energy", "forces")):
        raise RuntimeError("energy or forces are not finite")
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    more = {"rounds": len(times), "note": f"expected {1e-6 * expected:.0f} MB; shortest of the rounds"}
    if peak:
        more["peak MB"] = f"{1e-6 * peak:.0f}"
        print(f"{case}: {min(times):.3f} s, {1e-9 * peak:.1f} GB at the peak", flush=True)
    return [*rows, _row(case, "inference", "plus-m blocks", min(times), len(pos), more)]


def _row(case: str, step: str, contestant: str, seconds: float, atoms: int, more: Row) -> Row:
    times = {"ms": f"{1e3 * seconds:.4g}", "wall ms": f"{1e3 * seconds:.4g}", "us/atom": f"{1e6 * seconds / atoms:.4g}"}
    return {"case": case, "step": step, "contestant": contestant, "rounds": 1, **times, **more}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
