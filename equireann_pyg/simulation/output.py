"""All files that a simulation writes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import iread
from ase.io.extxyz import write_extxyz
from ase.io.trajectory import Trajectory

from equireann_pyg.files import replacing
from equireann_pyg.simulation.state import State, write_state


class Frames(ABC):
    """A file of frames that grows.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self) -> None:
        """Make the folder, and take away what was there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)

    @abstractmethod
    def append(self, atoms: Atoms) -> None:
        """One more frame, on the disk when this returns."""

    @abstractmethod
    def end(self) -> int:
        """Mark of the present end."""

    @abstractmethod
    def cut(self, end: int) -> None:
        """Take away what was written after a mark.

        Raises:
            ValueError: if the file ends before it.
        """


class TextFrames(Frames):
    """Extended XYZ; the mark is a number of bytes."""

    def append(self, atoms: Atoms) -> None:
        """One more frame."""
        with open(self.path, "a", encoding="utf-8") as file:
            write_extxyz(file, [atoms])

    def end(self) -> int:
        """Size in bytes."""
        return self.path.stat().st_size

    def cut(self, end: int) -> None:
        """Shorten the file."""
        cut(self.path, end)


class TrajectoryFrames(Frames):
    """ASE's ``*.traj``; the mark is a number of frames."""

    def append(self, atoms: Atoms) -> None:
        """One more frame."""
        with Trajectory(self.path, "a") as file:
            file.write(atoms)

    def end(self) -> int:
        """Number of frames."""
        with Trajectory(self.path) as file:
            return len(file)

    def cut(self, end: int) -> None:
        """Write the file anew, with its first frames."""
        if self.end() < end:
            raise ValueError(_shortened(self.path))
        if self.end() > end:
            with replacing(self.path, ".traj") as partial, Trajectory(partial, "w") as file:
                for atoms in islice(iread(self.path), end):
                    file.write(atoms)


FRAMES: dict[str, type[Frames]] = {".extxyz": TextFrames, ".xyz": TextFrames, ".traj": TrajectoryFrames}


def frames_of(path: Path, option: str) -> Frames:
    """The file of frames, by the ending of its name.

    Raises:
        ValueError: for another ending.
    """
    if path.suffix not in FRAMES:
        raise ValueError(f"--{option} {path}: expected a name that ends in {', '.join(FRAMES)}")
    return FRAMES[path.suffix](path)


def cut(path: Path, end: int) -> None:
    """Take away what a file has after a number of bytes.

    Raises:
        ValueError: if it has fewer.
    """
    if path.stat().st_size < end:
        raise ValueError(_shortened(path))
    os.truncate(path, end)


def _shortened(path: Path) -> str:
    return f"{path}: shorter than when the run was left: restore the file, or begin a new run"


def refuse_existing(paths: Iterable[Path], ways: str) -> None:
    """Refuse to write where there is something.

    Raises:
        ValueError: naming the first file that exists, and what else can be done.
    """
    for path in paths:
        if path.exists():
            raise ValueError(f"{path} exists: {ways}")


class RunFiles:
    """Trajectory, log and state of one run: whatever it writes goes through here.

    Of several processes one has these files, and the others an object whose methods do nothing.

    Args:
        trajectory: ``*.extxyz``, ``*.xyz`` or ``*.traj``.
        log: text file; by default beside the trajectory.

    Raises:
        ValueError: for a trajectory of another kind.
    """

    def __init__(self, trajectory: Path, log: Path | None = None) -> None:
        self.trajectory = frames_of(trajectory, "trajectory")
        self.log = trajectory.with_suffix(".log") if log is None else log
        self.state = state_beside(trajectory)

    def refuse_existing(self) -> None:
        """Refuse to replace anything.

        Raises:
            ValueError: naming a file that exists.
        """
        ways = "go on with --restart true, replace it with --overwrite true, or name another --trajectory and --log"
        refuse_existing((self.trajectory.path, self.log, self.state), ways)

    def begin(self, head: str) -> None:
        """New files; the log begins with a line."""
        self.state.unlink(missing_ok=True)  # first: it would be that of another trajectory
        self.trajectory.begin()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(head + "\n", encoding="utf-8")

    def resume(self, mark: dict[str, Any]) -> None:
        """Take away what was written after a state.

        Raises:
            FileNotFoundError: if a file is gone.
            ValueError: if one was shortened.
        """
        for path in (self.trajectory.path, self.log):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file, the run to go on with has lost it; begin a new one")
        self.trajectory.cut(mark["trajectory_end"])
        cut(self.log, mark["log_end"])

    def record(self, frame: Atoms, row: str) -> None:
        """One more frame and line."""
        self.trajectory.append(frame)
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(row + "\n")

    def save(self, state: State) -> None:
        """Write the state, with marks of where the other files end."""
        mark = {
            "trajectory": os.path.relpath(self.trajectory.path, self.state.parent),
            "trajectory_end": self.trajectory.end(),
            "log": os.path.relpath(self.log, self.state.parent),
            "log_end": self.log.stat().st_size,
        }
        write_state(self.state, state, mark)


def state_beside(trajectory: Path) -> Path:
    """File of the state of a run with this trajectory."""
    return trajectory.with_name(f"{trajectory.stem}.state.npz")


def files_of(state: Path, mark: dict[str, Any]) -> RunFiles:
    """Files of the run that a state is of."""
    return RunFiles(state.parent / mark["trajectory"], state.parent / mark["log"])
