"""Molecular dynamics that can be stopped, and gone on with as if it had not been."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from equireann_pyg.simulation.calculators import listed_positions
from equireann_pyg.simulation.ensembles import Ensemble
from equireann_pyg.simulation.output import RunFiles
from equireann_pyg.simulation.progress import Advance
from equireann_pyg.simulation.records import frame_of, head_of, row_of, values_of
from equireann_pyg.simulation.state import State, fixed_of
from equireann_pyg.simulation.stopping import Signals, Stopped
from equireann_pyg.simulation.structures import check_forces, check_speed

SAVING = 60.0
"""Seconds after which the state is written anew."""


class Simulation:
    """Molecular dynamics of one structure.

    Args:
        atoms: structure with momenta and a calculator; see :meth:`Ensemble.prepare
            <equireann_pyg.simulation.ensembles.Ensemble.prepare>`. It is changed.
        ensemble: what is kept constant.
        files: what is written.
        every: steps from one frame and line of the log to the next.
        generator: of random numbers.
        settings: plain values that must be the same where the run is gone on with.
        saving: seconds after which the state is written anew.
    """

    def __init__(
        self,
        atoms: Atoms,
        ensemble: Ensemble,
        files: RunFiles,
        every: int,
        generator: np.random.Generator,
        settings: Mapping[str, Any] | None = None,
        saving: float = SAVING,
    ) -> None:
        self.atoms, self.ensemble, self.files, self.every = atoms, ensemble, files, every
        self.generator, self.saving = generator, saving
        self.settings = {**ensemble.settings(), "every": every, **fixed_of(atoms), **(settings or {})}
        self.dynamics: Any = ensemble.dynamics(atoms, generator)

    @property
    def step(self) -> int:
        """Number of steps that are done."""
        return int(self.dynamics.nsteps)

    @property
    def time(self) -> float:
        """Simulated time in fs."""
        return self.step * self.ensemble.timestep

    def begin(self) -> None:
        """New files, with the first frame.

        Raises:
            ValueError: for forces that are not finite; nothing is written then.
        """
        check_forces(self.atoms)
        self.files.begin(head_of(values_of(self.atoms, 0, 0.0)))
        self._record()
        self.save()

    def resume(self, state: State, mark: dict[str, Any]) -> None:
        """Go on from a state; what was written after it is taken away.

        Raises:
            FileNotFoundError: if the other files of the run are gone.
            ValueError: if they were shortened.
        """
        self.files.resume(mark)
        self.generator.bit_generator.state = state.generator
        self.ensemble.restore(self.dynamics, state.arrays)
        self.dynamics.nsteps = state.step

    def state(self) -> State:
        """All that the next step depends on."""
        atoms = self.atoms
        arrays = {
            "numbers": atoms.numbers,
            "positions": atoms.get_positions(),
            "momenta": atoms.get_momenta(),
            "cell": atoms.cell.array,
        }
        if (listed := listed_positions(atoms.calc)) is not None:
            arrays["listed"] = listed
        arrays |= self.ensemble.variables(self.dynamics)
        return State(self.step, arrays, dict(self.generator.bit_generator.state), self.settings)

    def save(self) -> None:
        """Write the state."""
        self.files.save(self.state())
        self._saved = time.monotonic()

    def run(self, steps: int, progress: Advance) -> None:
        """Steps up to a number of them; the state is written every so often and at the end.

        Raises:
            ValueError: if energies or forces are not finite, or atoms too fast for the time step: names step and atoms. The
                trajectory until then is kept.
            Stopped: after a signal, when the state is written.
        """
        self._saved = time.monotonic()
        with Signals() as signals:
            while self.step < steps:
                self._advance()
                due = self.step % self.every == 0
                if due:
                    progress.update(self.step, self._record())
                if signals.received is not None:
                    self.save()
                    raise Stopped(
                        signals.received,
                        f" after step {self.step} of {steps}: the same command with --restart true goes on from there",
                    )
                if due and time.monotonic() - self._saved > self.saving:
                    self.save()
        self.save()

    def _advance(self) -> None:
        """One step."""
        try:
            self.dynamics.step()
            check_forces(self.atoms)
            check_speed(self.atoms, self.ensemble.timestep)
        except ValueError as error:  # of the calculator
            raise ValueError(
                f"step {self.step + 1}: {error} ({self.files.trajectory.path} has the frames until then; a shorter "
                "--timestep may help)"
            ) from error
        self.dynamics.nsteps += 1

    def _record(self) -> str:
        """A frame and a line of the log; in short what is in it."""
        values = values_of(self.atoms, self.step, self.time)
        self.files.record(frame_of(self.atoms, self.step, self.time), row_of(values))
        pressure = f", {values['P_GPa']:.2f} GPa" if "P_GPa" in values else ""
        return f"{values['T_K']:.0f} K, {values['E_tot_eV']:.4f} eV{pressure}"


def place(atoms: Atoms, state: State) -> None:
    """Put the atoms where they are in a state.

    The calculator first gets them as they were when it last looked for neighbours: then sums go over the same list, in the same
    order, and the run goes on to the last bit.

    Args:
        atoms: structure with a calculator.
        state: of the run.

    Raises:
        ValueError: if it is of another structure.
    """
    if not np.array_equal(atoms.numbers, state.arrays["numbers"]):
        raise ValueError("--restart: the structure has other atoms than the run to go on with: name the same file")
    atoms.set_cell(state.arrays["cell"], apply_constraint=False)
    if "listed" in state.arrays:
        atoms.set_positions(state.arrays["listed"], apply_constraint=False)
        atoms.get_potential_energy()
    atoms.set_positions(state.arrays["positions"], apply_constraint=False)
    atoms.set_momenta(state.arrays["momenta"], apply_constraint=False)
