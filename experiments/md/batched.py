"""Dynamics of a hundred small systems: all at once in torch-sim, and one after the other in ASE.

    python -m experiments.md.batched [--systems 100] [--steps 10] [--rounds 3] [--checkpoint best.ckpt] [--out FOLDER]

Velocity Verlet from the same positions and momenta, in turns and on one thread. Prints CPU time of a step of one system and how
many times longer ASE takes, and writes both to ``batched.csv``. Without a checkpoint it is EquiREANN-plus-m in float32 with
random weights: times do not depend on weights.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANNCalculator, EquiREANNPlus, Potential, load_potential
from equireann_pyg.engines import TorchSimModel
from equireann_pyg.files import replacing
from equireann_pyg.testing import randomize

SYSTEMS: dict[str, Callable[[], Atoms]] = {
    "ethanol": lambda: molecule("CH3CH2OH"),
    "copper 4": lambda: bulk("Cu", cubic=True),
    "copper 32": lambda: bulk("Cu", cubic=True) * (2, 2, 2),
}
TIMESTEP, TEMPERATURE = 0.5, 300.0
"""In fs and K."""

COLUMNS = ("system", "atoms", "systems", "steps", "torch-sim ms", "ase ms", "factor", "spread", "deviation")


def potential_of(checkpoint: Path | None) -> Potential:
    """The potential of a file, or one with random weights."""
    if checkpoint is not None:
        return load_potential(checkpoint)
    torch.manual_seed(0)
    made = Potential(EquiREANNPlus(elements=["H", "C", "O", "Cu"], cutoff=5.0))
    randomize(made.model)
    made.set_references(dict.fromkeys(made.elements, 0.0), scale=50.0)
    return made.eval()


class Contest:
    """Copies of a system, moved by both from the same start.

    Args:
        atoms: the system.
        count: number of copies, each rattled otherwise.
        potential: that moves them.
    """

    def __init__(self, atoms: Atoms, count: int, potential: Potential) -> None:
        import torch_sim as ts

        self.frames = [atoms.copy() for _ in range(count)]
        for seed, frame in enumerate(self.frames):
            frame.rattle(0.03, seed=seed)
        self.model = TorchSimModel(potential, allow_untrained=True, compute_stress=False)
        self.calculators = [EquiREANNCalculator(potential, allow_untrained=True) for _ in self.frames]
        step, kelvin = (torch.tensor(value, dtype=torch.float64) for value in (TIMESTEP * units.fs, units.kB))
        self.begin, self.advance = ts.nve(model=self.model, dt=step, kT=TEMPERATURE * kelvin, seed=0)
        self.state = ts.io.atoms_to_state(self.frames, self.model.device, torch.float64)

    def torch_sim(self, steps: int) -> tuple[float, np.ndarray]:
        """CPU seconds and positions at the end, ``[N, 3]``."""
        state = self.begin(self.state.clone())
        self.momenta = state.momenta.clone().numpy()
        start = time.process_time()
        for _ in range(steps):
            state = self.advance(state)
        return time.process_time() - start, state.positions.numpy()

    def ase(self, steps: int) -> tuple[float, np.ndarray]:
        """CPU seconds and positions at the end, ``[N, 3]``; from the momenta of the other."""
        seconds, positions, momenta = 0.0, [], np.split(self.momenta, len(self.frames))
        for frame, calculator, start in zip(self.frames, self.calculators, momenta, strict=True):
            atoms = frame.copy()
            atoms.calc = calculator
            atoms.set_momenta(start)
            atoms.get_forces()  # both start with the forces known
            dynamics, began = VelocityVerlet(atoms, timestep=TIMESTEP * units.fs), time.process_time()
            dynamics.run(steps)
            seconds += time.process_time() - began
            positions.append(atoms.positions)
        return seconds, np.concatenate(positions)

    def distance(self, here: np.ndarray, there: np.ndarray) -> float:
        """Largest difference of a coordinate in Angstrom, up to lattice vectors: torch-sim wraps atoms into the cell."""
        difference, atoms = here - there, self.frames[0]
        if atoms.pbc.all():
            difference -= np.rint(difference @ np.linalg.inv(atoms.cell.array)) @ atoms.cell.array
        return float(np.abs(difference).max())


def measure(name: str, count: int, steps: int, rounds: int, potential: Potential) -> dict[str, object]:
    """A row of the table: medians over the rounds, in each of which both take their turn."""
    contest = Contest(SYSTEMS[name](), count, potential)
    contest.torch_sim(2)
    times = []
    for _ in range(rounds):
        batched, positions = contest.torch_sim(steps)
        single, others = contest.ase(steps)
        times.append((batched, single))
    factors = sorted(single / batched for batched, single in times)
    per_step = [1e3 * median(column) / count / steps for column in zip(*times, strict=True)]
    return {
        "system": name,
        "atoms": len(contest.frames[0]),
        "systems": count,
        "steps": steps,
        "torch-sim ms": f"{per_step[0]:.3g}",
        "ase ms": f"{per_step[1]:.3g}",
        "factor": f"{median(factors):.2f}",
        "spread": f"{factors[0]:.2f} to {factors[-1]:.2f}",
        "deviation": f"{contest.distance(positions, others):.1g}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=100, help="copies of each system")
    parser.add_argument("--steps", type=int, default=10, help="steps of dynamics")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="systems to measure")
    parser.add_argument("--checkpoint", type=Path, help="file of a potential that knows the elements")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of batched.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    potential, rows = potential_of(options.checkpoint), []
    for name in options.only:
        rows.append(measure(name, options.systems, options.steps, options.rounds, potential))
        print(*(f"{column} {value}" for column, value in rows[-1].items()), sep=", ", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with replacing(options.out / "batched.csv", ".csv") as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
