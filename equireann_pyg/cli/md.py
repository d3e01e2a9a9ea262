"""``equireann md MODEL... STRUCTURE``: molecular dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt

from equireann_pyg.cli.moving import add_calculator, calculator
from equireann_pyg.simulation.calculators import digests, reach_of
from equireann_pyg.simulation.dynamics import Simulation, place
from equireann_pyg.simulation.ensembles import NVE, BussiNVT, Ensemble, LangevinNPT, LangevinNVT, draw_momenta
from equireann_pyg.simulation.output import RunFiles, files_of, state_beside
from equireann_pyg.simulation.progress import Advance
from equireann_pyg.simulation.state import State, check_settings, find_state, read_state
from equireann_pyg.simulation.structures import has_momenta, one_structure

USED_BY = {
    "pressure": ("npt",),
    "barostat_time": ("npt",),
    "thermostat": ("nvt",),  # npt has a Langevin thermostat
    "thermostat_time": ("nvt", "npt"),
}
"""Ensembles that an option is for."""


def parser() -> ArgumentParser:
    """Options of ``equireann md``."""
    made = ArgumentParser(
        description="Molecular dynamics at constant energy, temperature, or temperature and pressure."
    )
    made.add_argument("models", nargs="+", type=str, help="checkpoint or *.pt2 file; several are a committee")
    made.add_argument(
        "structure", type=str, help="a file that ase.io.read opens; of several frames one: name@0, name@-1"
    )
    made.add_argument("--ensemble", type=Literal["nve", "nvt", "npt"], default="nvt", help="what is kept constant")
    made.add_argument(
        "--steps", type=PositiveInt, default=1000, help="of the whole run, those before a restart included"
    )
    made.add_argument("--timestep", type=float, default=0.5, help="fs")
    made.add_argument("--temperature", type=float | None, default=None, help="K")
    made.add_argument("--pressure", type=float | None, default=None, help="GPa, for npt; default: 0")
    made.add_argument(
        "--thermostat", type=Literal["langevin", "bussi"] | None, default=None, help="for nvt; default: langevin"
    )
    made.add_argument(
        "--thermostat_time",
        type=float | None,
        default=None,
        help="fs in which the temperature comes to its mean; default: 100",
    )
    made.add_argument(
        "--barostat_time", type=float | None, default=None, help="likewise fs for the volume, in npt; default: 1000"
    )
    made.add_argument(
        "--draw",
        type=bool | None,
        default=None,
        help="draw velocities at --temperature; by default where the structure has no momenta",
    )
    made.add_argument("--trajectory", type=Path, default=Path("md.extxyz"), help="*.extxyz, *.xyz or *.traj")
    made.add_argument("--log", type=Path | None, default=None, help="by default beside the trajectory, *.log")
    made.add_argument(
        "--every", type=PositiveInt, default=10, help="steps between two frames, and between two lines of the log"
    )
    made.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
    made.add_argument("--restart", type=bool | str, default=False, help="true, or the folder of the run to go on with")
    made.add_argument(
        "--seed", type=NonNegativeInt, default=1, help="of velocities and random forces; a restart goes on with its own"
    )
    add_calculator(made)
    return made


def run(options: Any) -> Path:
    """``equireann md``: write a trajectory, a log and the state to go on from; returns the trajectory.

    On several processes the first one does so, and the others compute for it.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for options or a structure that cannot be simulated, files that exist, or forces that are not finite.
        Stopped: after a signal, when the state is written.
    """
    ensemble, atoms = ensemble_of(options), one_structure(options.structure)
    files, resumed = files_and_state(options)
    with calculator(options) as atoms.calc:
        if atoms.calc is not None:
            simulate(atoms, ensemble, files, resumed, options)
    return files.trajectory.path


def simulate(
    atoms: Atoms, ensemble: Ensemble, files: RunFiles, resumed: tuple[State, dict[str, Any]] | None, options: Any
) -> None:
    """Molecular dynamics of a structure with a calculator, from its beginning or a state.

    Raises:
        ValueError: for a structure that cannot be simulated, or forces that are not finite.
        Stopped: after a signal, when the state is written.
    """
    settings = {"models": digests(options.models), "dtype": options.dtype}
    if resumed is not None:
        place(atoms, resumed[0])
    atoms.get_forces()  # whatever is wrong with the structure, before anything is written
    ensemble.prepare(atoms, reach_of(atoms.calc))
    generator = np.random.default_rng(options.seed)
    if resumed is None:
        set_momenta(atoms, options, generator)
    simulation = Simulation(atoms, ensemble, files, options.every, generator, settings)
    if resumed is not None:
        check_settings(files.state, resumed[0], simulation.settings)
        if resumed[0].step >= options.steps:
            raise ValueError(f"--steps {options.steps}: {resumed[0].step} steps are done already: ask for more")
        simulation.resume(*resumed)
    else:
        simulation.begin()
    with Advance("step", options.steps, simulation.step) as progress:
        simulation.run(options.steps, progress)
    print(f"{files.trajectory.path}, {files.log}, {files.state}: {simulation.step} steps, {simulation.time:g} fs")


def ensemble_of(options: Any) -> Ensemble:
    """What the options keep constant.

    Raises:
        ValueError: for a quantity that is missing or cannot be.
    """
    for name, ensembles in USED_BY.items():
        if (value := getattr(options, name)) is not None and options.ensemble not in ensembles:
            raise ValueError(f"--{name} {value}: only for --ensemble {' or '.join(ensembles)}, got {options.ensemble}")
    if options.ensemble == "nve":
        if options.temperature is not None and not 0 <= options.temperature < float("inf"):
            raise ValueError(f"--temperature: expected 0 K or more, got {options.temperature:g}")
        return NVE(options.timestep)
    if options.temperature is None:
        raise ValueError(f"--ensemble {options.ensemble}: at which --temperature, in K?")
    thermostat_time = 100.0 if options.thermostat_time is None else options.thermostat_time
    bath = options.timestep, options.temperature, thermostat_time
    if options.ensemble == "npt":
        barostat_time = 1000.0 if options.barostat_time is None else options.barostat_time
        return LangevinNPT(*bath, options.pressure or 0.0, barostat_time)
    return {"langevin": LangevinNVT, "bussi": BussiNVT}[options.thermostat or "langevin"](*bath)


def files_and_state(options: Any) -> tuple[RunFiles, tuple[State, dict[str, Any]] | None]:
    """Files of the run, and the state to go on from with its mark, if any.

    Raises:
        FileNotFoundError: if there is no run to go on with.
        ValueError: if files exist that are not to be replaced.
    """
    if options.restart is False:
        files = RunFiles(options.trajectory, options.log)
        if not options.overwrite:
            files.refuse_existing()
        return files, None
    if options.overwrite:
        raise ValueError("--restart goes on with a run, --overwrite replaces it: leave out one of them")
    for name in ("draw", "log"):
        if (value := getattr(options, name)) is not None:
            raise ValueError(
                f"--{name} {value}: --restart goes on with the files and velocities of the run: leave it out"
            )
    path = find_state(options.restart, state_beside(options.trajectory))
    state, mark = read_state(path)
    return files_of(path, mark), (state, mark)


def set_momenta(atoms: Atoms, options: Any, generator: np.random.Generator) -> None:
    """Momenta of the file, or drawn ones.

    Raises:
        ValueError: if there is no temperature to draw them at, or one that would not be used.
    """
    moving, temperature = has_momenta(atoms), options.temperature
    draw = not moving if options.draw is None else options.draw
    if draw and temperature is None:
        raise ValueError(
            f"{options.structure} has no momenta to begin with: draw velocities at a --temperature, in K"
            if options.draw is None
            else "--draw true: at which --temperature, in K?"
        )
    if not draw and temperature is not None and options.ensemble == "nve":
        raise ValueError(
            f"{options.structure} has momenta and there is a --temperature: leave it out, or draw new ones with --draw true"
        )
    columns = sorted({"velocities", "velocity", "vel", "velo"} & set(atoms.arrays))
    if columns and draw and options.draw is None:
        raise ValueError(
            f"{options.structure}: its column {columns[0]} is not read: store ASE's momenta, or draw new ones with --draw true"
        )
    if draw:
        draw_momenta(atoms, temperature, generator)
    else:
        atoms.set_momenta(atoms.get_momenta())  # what is held has none
