"""Errors of a potential on labelled structures: ``equireann evaluate CKPT FILE...``."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import plots
from equireann_pyg.checkpoint import load_potential
from equireann_pyg.data import AtomsDataset, check_elements
from equireann_pyg.graph import LabelKeys
from equireann_pyg.metrics import QUANTITIES, PotentialErrors
from equireann_pyg.potential import Potential

Errors = dict[str, dict[str, float]]


def predict(potential: Potential, dataset: Sequence[Data], batch_size: int = 32) -> list[dict[str, Tensor]]:
    """Output of the potential for each batch of a data set, in order, on the CPU."""
    device = potential.scale.device
    starts = range(0, len(dataset), batch_size)
    batches = (Batch.from_data_list(list(dataset[start : start + batch_size])) for start in starts)
    return [{key: value.cpu() for key, value in potential.eval()(batch.to(device)).items()} for batch in batches]


def evaluate(potential: Potential, dataset: Sequence[Data], batch_size: int = 32) -> Errors:
    """RMSE and MAE in the units of :data:`equireann_pyg.metrics.QUANTITIES`, for each configuration type and for all.

    Args:
        potential: potential to test.
        dataset: labelled graphs; missing labels are left out.
        batch_size: frames evaluated at once.

    Returns:
        ``{config_type: {"frames": ..., "energy_rmse": ..., ...}}``, with ``"all"`` last.
    """
    groups: dict[str, list[Data]] = {}
    for data in dataset:
        groups.setdefault(data.config_type, []).append(data)
    total = PotentialErrors()
    table = {}
    for name, frames in sorted(groups.items()):
        meter = PotentialErrors()
        for start in range(0, len(frames), batch_size):
            batch = Batch.from_data_list(frames[start : start + batch_size])
            output = {key: value.cpu() for key, value in potential.eval()(batch.to(potential.scale.device)).items()}
            meter.update(output, batch.cpu())
            total.update(output, batch)
        table[name] = {"frames": float(len(frames)), **meter.compute()}
    return {**table, "all": {"frames": float(len(dataset)), **total.compute()}}


def print_errors(errors: Errors, console: Console | None = None) -> None:
    """Print the errors as a table, RMSE / MAE."""
    columns = [name for name in QUANTITIES if f"{name}_rmse" in errors["all"]]
    table = Table(title="RMSE / MAE")
    table.add_column("configuration")
    table.add_column("frames", justify="right")
    for name in columns:
        table.add_column(f"{name.replace('_', ' ')}\n({QUANTITIES[name]})", justify="right")
    for kind, row in errors.items():
        cells = [f"{row[f'{c}_rmse']:.3g} / {row[f'{c}_mae']:.3g}" if f"{c}_rmse" in row else "-" for c in columns]
        table.add_row(kind, f"{row['frames']:.0f}", *cells, style="bold" if kind == "all" else "")
    (console or Console()).print(table)


def write_errors(errors: Errors, path: Path) -> None:
    """Write the errors as CSV, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, ["config_type", *errors["all"]])
        writer.writeheader()
        writer.writerows({"config_type": kind, **row} for kind, row in errors.items())
    partial.replace(path)


def parity_plots(potential: Potential, dataset: Sequence[Data], path: Path) -> None:
    """Parity of energy per atom (relative to the reference energies), forces and stress where there are labels."""
    outputs = predict(potential, dataset)
    references = potential.reference_energies.cpu()
    sizes = torch.tensor([data.z.numel() for data in dataset], dtype=torch.float64)
    free = torch.stack([references[data.z].sum() for data in dataset])
    pairs: dict[str, tuple[Tensor, Tensor]] = {
        "energy per atom": (
            (torch.cat([data.energy for data in dataset]) - free) / sizes,
            (torch.cat([output["energy"] for output in outputs]) - free) / sizes,
        ),
        "force": (torch.cat([data.forces for data in dataset]), torch.cat([output["forces"] for output in outputs])),
    }
    if all("stress" in output for output in outputs):
        predicted = torch.cat([output["stress"] for output in outputs])
        pairs["stress"] = (torch.cat([data.stress for data in dataset]), predicted)
    units = {"energy per atom": "eV", "force": "eV/Å", "stress": "eV/Å³"}
    known = {name: torch.isfinite(pair[0] - pair[1]) for name, pair in pairs.items()}
    drawn = [name for name in pairs if bool(known[name].any())]
    picture, axes = plots.figure(1, len(drawn), 3.6, 3.4)
    for axis, name in zip(axes.flat, drawn, strict=True):
        reference, prediction = (values[known[name]].numpy() for values in pairs[name])
        plots.parity(axis, reference, {"model": prediction}, name, units[name])
    plots.save(picture, path)


def run(args: list[str]) -> Errors:
    """``equireann evaluate``: print errors by configuration type, write ``errors.csv`` and ``parity.png``.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for a bad checkpoint, unreadable data or unknown elements.
    """
    parser = ArgumentParser(prog="equireann evaluate", description="Errors of a potential by configuration type.")
    parser.add_argument("checkpoint", help="file of save_potential or training checkpoint")
    parser.add_argument("files", nargs="+", help="labelled structures, anything ase.io.read opens")
    parser.add_argument("--keys", type=LabelKeys, default=LabelKeys(), help="names of the labels")
    parser.add_argument("--batch_size", type=int, default=32, help="frames at once")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder of errors.csv and parity.png")
    options: Any = parser.instantiate_classes(parser.parse_args(args))
    potential = load_potential(options.checkpoint, options.device)
    dataset = AtomsDataset(options.files, potential.cutoff, options["keys"])
    check_elements(dataset.graphs, potential.elements, "evaluation")
    errors = evaluate(potential, dataset.graphs, options.batch_size)
    print_errors(errors)
    write_errors(errors, options.out / "errors.csv")
    parity_plots(potential, dataset.graphs, options.out / "parity.png")
    return errors
