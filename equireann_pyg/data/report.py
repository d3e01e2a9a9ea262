"""What was found in a file: frames, labels and their units, and what was left aside and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from equireann_pyg.data.doubts import counted, odd, wrong
from equireann_pyg.graph.labels import EXPECTED, KINDS, LABELS, FrameLabels, LabelKeys, fits, label_places
from equireann_pyg.graph.names import VIRIAL, meaning


@dataclass
class LabelReport:
    """Labels of one file.

    Args:
        file: the file, with the selection of frames if there is one.
        frames: number of frames.
        labels: labels that were looked for.
        sources: for each label that was found, the names it was found under and the frames that have it there.
        notes: what was found but not used, and why.
        losses: labels that nobody asked for and that cannot be used as they are, and why.
    """

    file: str
    frames: int
    labels: list[str]
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def count(self, name: str) -> int:
        """Number of frames that have a label."""
        return sum(self.sources.get(name, {}).values())

    def plain(self) -> dict[str, Any]:
        """As a dictionary of plain types, from which ``LabelReport(**plain)`` makes it again."""
        return asdict(self)


def make_report(
    file: str, frames: Sequence[Atoms], found: Sequence[FrameLabels], labels: Sequence[str], notes: Sequence[str]
) -> LabelReport:
    """Count the labels of a file.

    Args:
        file: name of the file.
        frames: its structures.
        found: their labels.
        labels: labels that were looked for.
        notes: what the reader has to say.
    """
    report, unused = LabelReport(file, len(frames), list(labels)), dict[tuple[str, str], int]()
    malformed: dict[str, list[tuple[int, str]]] = {}
    for index, one in enumerate(found):
        for name, key in one.sources.items():
            keys = report.sources.setdefault(name, {})
            keys[key] = keys.get(key, 0) + 1
        for reason in one.unused.items():
            unused[reason] = unused.get(reason, 0) + 1
        for name, why in one.malformed.items():
            malformed.setdefault(name, []).append((index, why))
    for name, keys in report.sources.items():
        if set(keys) != {getattr(LabelKeys, name)}:
            virial = name == "stress" and all(VIRIAL.match(key) for key in keys)
            report.notes.append(f"{name}: {'minus, over the volume, ' if virial else 'read from '}{_counted(keys)}")
    report.notes += [f"{key}: {why}{_part(count, len(frames))}" for (key, why), count in unused.items()]
    report.notes += [*notes, *counted(odd, frames, found)]
    report.losses += counted(wrong, frames, found)
    for name, cases in malformed.items():
        report.losses.append(f"{name}: not used, frame {cases[0][0]}: {cases[0][1]}{_part(len(cases), len(frames))}")
    return report


def _counted(keys: dict[str, int]) -> str:
    one = len(keys) == 1
    return " and ".join(
        key if one else f"{key} ({count} frame{'s'[: count > 1]})" for key, count in sorted(keys.items())
    )


def _part(count: int, whole: int) -> str:
    return "" if count == whole else f" ({count} of {whole} frames)"


def check_names(report: LabelReport, frames: Sequence[Atoms], keys: LabelKeys, asked: bool) -> None:
    """Compare the names of the labels with what the frames have.

    A label that no frame has under its default name, while there is a similar one, is asked for; without ``asked`` it is
    a loss in the report.

    Raises:
        ValueError: if no frame has a label under the name that ``keys`` gives it, or to ask for a name.
    """
    for name in report.labels:
        key = getattr(keys, name)
        if key is None or name in report.sources:
            continue
        if not keys.usual(name):
            raise ValueError(f"{report.file}: no frame has {name} under the key '{key}'; {keys_found(frames[0])}")
        if name not in EXPECTED or (name == "stress" and any(note.startswith("virial") for note in report.notes)):
            continue
        similar = sorted({other for atoms in frames for other in similar_names(name, atoms)})
        if similar:
            write = f"--data.keys.{name}={similar[0]}"
            text = f"no frame has '{key}', but there is {' and '.join(map(repr, similar))}: to train on it, set {write}"
            if asked:
                raise ValueError(f"{report.file}: {text}, or --data.keys.{name}=null to go without")
            report.losses.append(text)


def similar_names(name: str, atoms: Atoms) -> list[str]:
    """Names under which a structure has something that could be a label, though not in common use."""
    return sorted(
        key
        for place in label_places(atoms).values()
        for key, value in place.items()
        if name[:5] in key.lower() and "per_atom" not in key.lower() and not meaning(key).label
        if fits(value, name, len(atoms))
    )


def keys_found(atoms: Atoms) -> str:
    """Names under which a frame has anything, for error messages."""
    return "the first has " + ", ".join(f"{name}: {sorted(place)}" for name, place in label_places(atoms).items())


def print_report(reports: Sequence[LabelReport], console: Console | None = None) -> None:
    """Print a table of all files: frames, and how many have each label; what was left aside stands below.

    Columns are energy, forces and stress, the other labels that were asked for by name, and whatever else was found.

    Args:
        reports: one for each file.
        console: where to print; by default the terminal.
    """
    console = console or Console()
    for names in _parts(_columns(reports), console.width):
        table = Table(title="Frames with labels", box=SIMPLE_HEAD, title_justify="left")
        table.add_column("file", overflow="fold")
        table.add_column("frames", justify="right", no_wrap=True)
        for name in names:
            table.add_column(_heading(name), justify="right", no_wrap=True)
        for report in reports:
            cells = [str(report.count(name) or "-") if name in report.labels else "" for name in names]
            table.add_row(_short(report.file, console.width // 3), str(report.frames), *cells)
        console.print(table)
    for report in reports:
        remarks = [*report.notes, *report.losses]
        if remarks:
            console.print(Padding(Text(f"{_short(report.file, console.width - 4)}:"), (0, 0, 0, 2)))
        for remark in remarks:
            console.print(Padding(Text(remark), (0, 0, 0, 4)))


def _columns(reports: Sequence[LabelReport]) -> list[str]:
    asked = {name for report in reports if set(report.labels) != set(KINDS) for name in report.labels if name in LABELS}
    found = {name for report in reports for name in report.labels if name in EXPECTED or report.count(name)}
    return [name for name in KINDS if name in asked | found]


def _heading(name: str) -> str:
    return f"{name.replace('_', ' ')}\n({KINDS[name].unit})"


def _parts(names: Sequence[str], width: int) -> list[list[str]]:
    """Labels that fit beside each other into a table."""
    parts: list[list[str]] = [[]]
    free = room = width - width // 3 - 14
    for name in names:
        wide = max(len(line) for line in _heading(name).split("\n")) + 3
        if parts[-1] and wide > free:
            parts.append([])
            free = room
        parts[-1].append(name)
        free -= wide
    return parts


def _short(file: str, width: int) -> str:
    """As much of the end of a path as fits, but at least the name."""
    parts = Path(file).parts
    ends = ["/".join(parts[start:]) for start in range(1, len(parts))]
    return file if len(file) <= width else next((end for end in ends if len(end) <= width), Path(file).name)
