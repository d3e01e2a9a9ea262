"""Energies and forces of cumulenes from density-functional theory.

Run as ``python -m experiments.cumulene.generate [--workers 2] [--out FOLDER]``. Resumable: each finished calculation is one
small file, written whole or not at all; a second run does what is missing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from equireann_pyg.files import replacing
from experiments.cumulene.chain import (
    BOHR,
    HARTREE,
    Array,
    NormalModes,
    equilibrium_torsion,
    random_rotation,
    sees_both_ends,
    start_geometry,
    twist,
)

XC, BASIS, GRID = "b3lyp", "def2-svp", 1
SEED, TEMPERATURE = 20241226, 300.0  # -, K
RANGE, STEP = 60.0, 5.0  # degrees: sampled torsion about the equilibrium; spacing of the scans
BLIND = 3.0  # Angstrom: no atom may have H of both ends this close
FRAMES = {4: 190, 5: 170, 6: 150, 7: 125, 8: 95, 9: 75}


def mean_field(symbols: list[str], positions: Array) -> Any:
    """Restricted Kohn-Sham with density fitting."""
    from pyscf import dft, gto

    molecule = gto.M(atom=list(zip(symbols, positions.tolist(), strict=True)), basis=BASIS, verbose=0)
    field = dft.RKS(molecule).density_fit()
    field.xc, field.grids.level, field.conv_tol = XC, GRID, 1e-9
    return field


def energy_and_forces(symbols: list[str], positions: Array, guess: Array | None) -> tuple[float, Array, Array]:
    """Energy in eV, forces ``[N, 3]`` in eV/Angstrom and density matrix.

    Raises:
        RuntimeError: if the field does not converge.
    """
    field = mean_field(symbols, positions)
    energy = field.kernel(dm0=guess)
    if not field.converged:
        raise RuntimeError("the self-consistent field did not converge")
    gradient = field.nuc_grad_method()
    gradient.grid_response = True  # forces are the derivative of the energy on this finite grid
    return energy * HARTREE, -gradient.kernel() * HARTREE / BOHR, field.make_rdm1()


def write(path: Path, **arrays: Any) -> None:
    """Save arrays whole or not at all."""
    with replacing(path, ".npz") as partial:
        np.savez_compressed(partial, **arrays)


def relax(n: int, out: Path) -> None:
    """Equilibrium geometry, Hessian and density matrix of one chain."""
    from pyscf.geomopt.geometric_solver import optimize

    symbols, positions = start_geometry(n)
    relaxed = optimize(mean_field(symbols, positions), maxsteps=50)
    positions = relaxed.atom_coords() * BOHR
    field = mean_field(symbols, positions)
    field.kernel()
    hessian = field.Hessian().kernel().transpose(0, 2, 1, 3).reshape(3 * len(symbols), -1)
    write(
        out / f"chain_{n}.npz",
        positions=positions,
        masses=field.mol.atom_mass_list(),
        hessian=hessian * HARTREE / BOHR**2,
        density=field.make_rdm1(),  # starts the scans
    )


def sample(n: int, index: int, chain: Any) -> tuple[Array, float, Array]:
    """Positions, torsion deviation (degrees) and random rotation of thermal frame ``index``; evenly spread torsions."""
    rng = np.random.default_rng([SEED, n, index])
    modes = NormalModes.from_hessian(chain["positions"], chain["masses"], chain["hessian"], n)
    deviation = -RANGE + 2 * RANGE * (index + rng.uniform()) / FRAMES[n]
    while True:
        displaced = chain["positions"] + modes.displacement(rng, TEMPERATURE)
        positions = twist(displaced, displaced[0], displaced[n - 1], deviation)
        if not sees_both_ends(positions, n, BLIND):
            return positions, deviation, random_rotation(rng)


def thermal_frame(n: int, index: int, out: Path) -> None:
    """One thermally displaced, twisted and randomly oriented frame."""
    chain = np.load(out / f"chain_{n}.npz")
    symbols, _ = start_geometry(n)
    positions, deviation, turn = sample(n, index, chain)
    energy, forces, _ = energy_and_forces(symbols, positions, None)
    write(
        out / f"thermal_{n}_{index:04d}.npz",
        positions=positions @ turn.T,
        forces=forces @ turn.T,
        energy=energy,
        torsion=equilibrium_torsion(n) + deviation,
    )


def scan(n: int, out: Path) -> None:
    """Rigid torsion of the relaxed chain over [0, RANGE] from equilibrium, each point started from its neighbour."""
    chain = np.load(out / f"chain_{n}.npz")
    symbols, _ = start_geometry(n)
    relaxed, guess, points = chain["positions"], chain["density"], []
    for deviation in np.arange(0, RANGE + STEP / 2, STEP):
        positions = twist(relaxed, relaxed[0], relaxed[n - 1], deviation)
        energy, forces, guess = energy_and_forces(symbols, positions, guess)
        points.append((positions, forces, energy, equilibrium_torsion(n) + deviation))
    write(
        out / f"scan_{n}.npz",
        **dict(
            zip(("positions", "forces", "energy", "torsion"), map(np.array, zip(*points, strict=True)), strict=True)
        ),
    )


def tasks(out: Path) -> Iterator[tuple[Path, Any, tuple[Any, ...]]]:
    """Every calculation that follows the relaxed chains: frames of all chains in turn, then the scans."""
    shuffle = np.random.default_rng(SEED)
    order = [
        (rank / count, n, index) for n, count in FRAMES.items() for rank, index in enumerate(shuffle.permutation(count))
    ]
    for _, n, index in sorted(order):
        yield out / f"thermal_{n}_{index:04d}.npz", thermal_frame, (n, int(index), out)
    for n in FRAMES:
        yield out / f"scan_{n}.npz", scan, (n, out)


def run(jobs: list[tuple[Path, Any, tuple[Any, ...]]], workers: int, label: str) -> None:
    """Do what is missing, in worker processes of one thread each."""
    missing = [(function, arguments) for path, function, arguments in jobs if not path.exists()]
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in missing]
        for future in track(as_completed(futures), label, total=len(futures)):
            future.result()


def main() -> None:
    """Relax the chains, then scan and sample them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "work")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    chains = [(options.out / f"chain_{n}.npz", relax, (n, options.out)) for n in sorted(FRAMES, reverse=True)]
    run(chains, options.workers, "relaxing")
    run(list(tasks(options.out)), options.workers, "frames")


if __name__ == "__main__":
    main()
