"""``equireann relax MODEL... STRUCTURE``: the next minimum of the energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from ase.calculators.calculator import Calculator
from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveFloat

from equireann_pyg.cli.moving import add_calculator, calculator
from equireann_pyg.data.reading import read_frames
from equireann_pyg.simulation.output import Frames, frames_of, refuse_existing
from equireann_pyg.simulation.progress import Advance
from equireann_pyg.simulation.relaxing import Relaxed, Search, check_cell, relax, relaxed_frame
from equireann_pyg.simulation.stopping import Signals, Stopped


def parser() -> ArgumentParser:
    """Options of ``equireann relax``."""
    made = ArgumentParser(description="Relax structures, and their cells, to the next minimum of the energy.")
    made.add_argument("models", nargs="+", type=str, help="checkpoint or *.pt2 file; several are a committee")
    made.add_argument("structure", type=str, help="anything ase.io.read opens; frames are relaxed one by one")
    made.add_argument("--fmax", type=PositiveFloat, default=0.01, help="largest force that may remain, eV/Angstrom")
    made.add_argument("--steps", type=NonNegativeInt, default=500, help="at most, for each frame")
    made.add_argument("--optimizer", type=Literal["lbfgs", "bfgs", "fire"], default="lbfgs", help="of ASE")
    made.add_argument("--cell", type=bool, default=False, help="relax the cell, too")
    made.add_argument("--pressure", type=float, default=0.0, help="GPa on the cell, with --cell true")
    made.add_argument("--out", type=Path, default=Path("relaxed.extxyz"), help="*.extxyz, *.xyz or *.traj")
    made.add_argument("--overwrite", type=bool, default=False, help="replace a file that exists")
    add_calculator(made)
    return made


def run(options: Any) -> Path:
    """``equireann relax``: write the relaxed frames, one after the other.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for a structure that cannot be relaxed, an output that exists, forces that are not finite, or frames that
            did not converge (all are written then).
        Stopped: after a signal; the frames until then are written, the last as far as it came.
    """
    if options.pressure and not options.cell:
        raise ValueError(f"--pressure {options.pressure:g}: it acts on the cell, which --cell true relaxes")
    frames, out = read_frames(options.structure), frames_of(options.out, "out")
    if not options.overwrite:
        refuse_existing([out.path], "replace it with --overwrite true, or name another --out")
    search = Search(options.fmax, options.steps, options.optimizer, options.cell, options.pressure)
    with calculator(options) as calc:
        if calc is not None:
            relax_and_report(frames, calc, search, out)
    return out.path


def relax_and_report(frames: list[Atoms], calc: Calculator, search: Search, out: Frames) -> None:
    """Relax all frames and write them.

    Raises:
        ValueError: where one has not converged, which is written as well, or cannot be computed.
        Stopped: after a signal.
    """
    for atoms in frames:
        atoms.calc = calc
        if search.cell:
            check_cell(atoms)
    frames[0].get_potential_energy()  # whatever is wrong with the model, before anything is written
    results = relax_all(frames, search, out)
    failed = [index for index, result in enumerate(results) if not result.converged]
    if failed:
        worst = max(results[index].force for index in failed)
        which = "" if len(frames) == 1 else f"{len(failed)} of {len(frames)} frames, the first is {failed[0]}: "
        raise ValueError(
            f"{which}not converged to --fmax {search.fmax:g} in {search.steps} steps, the largest force is {worst:.3g} "
            f"eV/Angstrom; {out.path} has what was reached: go on from it, with more --steps or another --optimizer"
        )


def relax_all(frames: list[Atoms], search: Search, out: Frames) -> list[Relaxed]:
    """Relax frames one by one and write each when it is done.

    Raises:
        ValueError: if forces are not finite: names frame, step and atoms.
        Stopped: after a signal.
    """
    results = []
    with Signals() as signals:
        for index, atoms in enumerate(frames):
            name = f"frame {index}" if len(frames) > 1 else "structure"
            try:
                with Advance(name, search.steps) as progress:
                    result = relax(atoms, search, signals, progress)
            except ValueError as error:
                has = f"{out.path} has the frames before it" if index else "nothing was written"
                raise ValueError(f"{name}, {error} ({has})") from error
            results.append(result)
            if index == 0:
                out.begin()
            out.append(relaxed_frame(atoms, result))
            print(f"{name}: {said_of(result)}, {atoms.get_potential_energy():.6f} eV, in {out.path}")
            if signals.received is not None and not (result.converged and atoms is frames[-1]):
                raise Stopped(
                    signals.received, f" in {name} after step {result.steps}; {out.path} has what was reached"
                )
    return results


def said_of(result: Relaxed) -> str:
    """A result in words."""
    pressure = "" if result.pressure is None else f" and {result.pressure:.3f} GPa"
    return (
        f"{'converged' if result.converged else 'NOT converged'} after {result.steps} steps, largest force {result.force:.4f} "
        f"eV/Å{pressure}"
    )
