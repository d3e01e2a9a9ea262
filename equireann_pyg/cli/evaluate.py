"""``equireann evaluate CKPT FILE...``: errors of a potential on labelled structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from equireann_pyg.data.reading import read_frames
from equireann_pyg.evaluation.errors import (
    Errors,
    errors_by_type,
    parity_plots,
    predict,
    print_errors,
    read_labelled,
    write_errors,
)
from equireann_pyg.graph.labels import LabelKeys
from equireann_pyg.potential.checkpoint import load_potential


def kinds_of(files: Sequence[str], group: str) -> list[str] | None:
    """What ``atoms.info`` of each frame has under ``group``; None for the configuration type, which graphs know.

    Raises:
        ValueError: if no frame has it.
    """
    if group == "config_type":
        return None
    frames = [atoms for file in files for atoms in read_frames(file)]
    if not any(group in atoms.info for atoms in frames):
        found = sorted({name for atoms in frames for name in atoms.info})
        raise ValueError(
            f"--group {group}: no frame has it in its info; the frames have {', '.join(found) or 'nothing'}"
        )
    return [str(atoms.info.get(group, "without")) for atoms in frames]


def parser() -> ArgumentParser:
    """Options of ``equireann evaluate``."""
    made = ArgumentParser(description="Errors of a potential on labelled structures, by kind of configuration.")
    made.add_argument("checkpoint", type=str, help="file of save_potential or training checkpoint")
    made.add_argument("files", nargs="+", type=str, help="labelled structures, anything ase.io.read opens")
    made.add_argument("--keys", type=LabelKeys, default=LabelKeys(), help="names of the labels")
    made.add_argument("--group", type=str, default="config_type", help="entry of atoms.info that errors are grouped by")
    made.add_argument("--batch_size", type=PositiveInt, default=32, help="frames at once")
    made.add_argument("--device", type=str, default="cpu", help="cpu, cuda, ...")
    made.add_argument(
        "--out", type=Path | None, default=None, help="folder to write to; default: evaluation, beside the checkpoint"
    )
    made.add_argument(
        "--allow_untrained", type=bool, default=False, help="evaluate elements without training atoms, too"
    )
    return made


def run(options: Any) -> Errors:
    """``equireann evaluate``: print errors by group, write ``errors.csv`` and ``parity.png``.

    They go to ``evaluation`` beside the checkpoint unless ``out`` names another folder.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for a bad checkpoint, unreadable or unlabelled data, unknown elements, a device that is not there or
            an output that is no folder.
    """
    out = Path(options.checkpoint).parent / "evaluation" if options.out is None else options.out
    _check_folder(out)
    potential = load_potential(options.checkpoint, options.device)
    potential.allow_untrained = options.allow_untrained
    dataset = read_labelled(options.files, options["keys"], potential)
    outputs = predict(potential, dataset, options.batch_size)
    errors = errors_by_type(outputs, dataset, kinds_of(options.files, options.group))
    print_errors(errors, group=options.group)
    write_errors(errors, out / "errors.csv", options.group)
    parity_plots(potential, outputs, dataset, out / "parity.png")
    print(f"{out / 'errors.csv'}, {out / 'parity.png'}")
    return errors


def _check_folder(out: Path) -> None:
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise ValueError(f"--out {out}: {existing} is a file, not a folder; name another")
