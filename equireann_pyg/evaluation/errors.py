"""Errors of a potential on labelled structures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg.data.dataset import AtomsDataset
from equireann_pyg.data.report import LabelReport, print_report
from equireann_pyg.elements import check_known
from equireann_pyg.evaluation import plots
from equireann_pyg.files import replacing
from equireann_pyg.graph.convert import label_of
from equireann_pyg.graph.labels import CONDITIONS, EXPECTED, LABELS, PER_ATOM, LabelKeys
from equireann_pyg.potential.potential import Potential
from equireann_pyg.training.metrics import QUANTITIES, PotentialErrors, three_digits, with_unit

Errors = dict[str, dict[str, float]]
Outputs = list[dict[str, Tensor]]

MANY = 10
"""From this number of batches on, there is a progress bar."""


def predict(potential: Potential, dataset: Sequence[Data], batch_size: int = 32) -> Outputs:
    """Output of the potential for each graph, in order, on the CPU; what is not defined for a graph is NaN.

    The potential is put into evaluation mode.

    Raises:
        ValueError: if ``batch_size`` is not positive or a predicted energy or force is not finite.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more frames, got {batch_size}")
    potential.eval()
    starts = range(0, len(dataset), batch_size)
    outputs: Outputs = []
    for start in track(starts, "evaluation", transient=True, disable=len(starts) < MANY):
        outputs += _predict_batch(potential, [dataset[k] for k in range(start, min(start + batch_size, len(dataset)))])
    for index, output in enumerate(outputs):
        if not all(bool(torch.isfinite(output[name]).all()) for name in ("energy", "forces")):
            raise ValueError(f"frame {index}: the predicted energy or forces are not finite; train the potential anew")
    return outputs


def _predict_batch(potential: Potential, frames: list[Data]) -> Outputs:
    batch = Batch.from_data_list(frames).to(potential.scale.device)
    output = {key: value.cpu() for key, value in potential(batch).items()}
    output.setdefault("stress", torch.full((len(frames), 3, 3), torch.nan, dtype=torch.float64))
    sizes = [data.z.numel() for data in frames]
    parts = {key: value.split(sizes if key in PER_ATOM else 1) for key, value in output.items()}
    return [{key: value[index] for key, value in parts.items()} for index in range(len(frames))]


def evaluate(potential: Potential, dataset: Sequence[Data], batch_size: int = 32) -> Errors:
    """RMSE and MAE in the units of :data:`equireann_pyg.training.metrics.QUANTITIES`, for each configuration type and for all.

    Args:
        potential: potential to test.
        dataset: labelled graphs; missing labels are left out.
        batch_size: frames evaluated at once.

    Returns:
        ``{config_type: {"frames": ..., "energy_rmse": ..., ...}}``, with ``"all"`` last.

    Raises:
        ValueError: see :func:`predict`.
    """
    return errors_by_type(predict(potential, dataset, batch_size), dataset)


def errors_by_type(outputs: Outputs, dataset: Sequence[Data], kinds: Sequence[str] | None = None) -> Errors:
    """Errors of given predictions, see :func:`evaluate`.

    Args:
        outputs: predictions of :func:`predict`.
        dataset: labelled graphs.
        kinds: what each graph is counted under; by default its configuration type.
    """
    groups: dict[str, list[int]] = {}
    for index, data in enumerate(dataset):
        kind = str(data.get("config_type") or "default") if kinds is None else kinds[index]
        groups.setdefault(kind, []).append(index)
    if "all" in groups:
        groups["config_type all"] = groups.pop("all")  # "all" is the sum of all types
    total = PotentialErrors()
    table = {}
    for name, members in sorted(groups.items()):
        labels = Batch.from_data_list([dataset[k] for k in members], exclude_keys=["edge_index", "edge_shift"])
        output = _joined([outputs[k] for k in members])
        meter = PotentialErrors()
        meter.update(output, labels)
        total.update(output, labels)
        table[name] = {"frames": float(len(members)), **meter.compute()}
    return {**table, "all": {"frames": float(len(dataset)), **(total.compute() if groups else {})}}


def _joined(outputs: Outputs) -> dict[str, Tensor]:
    return {key: torch.cat([output[key] for output in outputs]) for key in outputs[0]}


def print_errors(errors: Errors, console: Console | None = None, group: str = "config_type") -> None:
    """Print the errors as a table, RMSE / MAE, under the heading ``group``."""
    columns = [name for name in QUANTITIES if f"{name}_rmse" in errors["all"]]
    table = Table(title="RMSE / MAE", box=SIMPLE_HEAD)
    table.add_column(group, overflow="fold", min_width=11)
    table.add_column("frames", justify="right")
    for name in columns:
        table.add_column(f"{name.removesuffix('_per_atom')}\n({QUANTITIES[name]})", justify="right", no_wrap=True)
    for kind, row in errors.items():
        cells = [_cell(row[f"{c}_rmse"], row[f"{c}_mae"]) if f"{c}_rmse" in row else "-" for c in columns]
        table.add_row(kind, f"{row['frames']:.0f}", *cells, style="bold" if kind == "all" else "")
    (console or Console()).print(table)


def _cell(*errors: float) -> str:
    return " / ".join(three_digits(error) for error in errors)


def write_errors(errors: Errors, path: Path, group: str = "config_type") -> None:
    """Write the errors as CSV, with units in the names of the columns, whole or not at all."""
    columns = {name: name if name == "frames" else with_unit(name) for name in errors["all"]}
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [group, *columns.values()])
        writer.writeheader()
        writer.writerows(
            {group: kind} | {columns[name]: value for name, value in row.items()} for kind, row in errors.items()
        )


def parity_plots(potential: Potential, outputs: Outputs, dataset: Sequence[Data], path: Path) -> None:
    """Parity of energies, (E - sum E0) / N, and of components of forces, stress and properties, of what has labels.

    Args:
        potential: whose reference energies are taken off.
        outputs: predictions of :func:`predict`.
        dataset: labelled graphs.
        path: picture to write, whole or not at all.

    Raises:
        ValueError: if there are no labels.
    """
    references = potential.reference_energies.cpu()
    free = torch.stack([references[data.z].sum() for data in dataset])
    sizes = torch.tensor([data.z.numel() for data in dataset], dtype=torch.float64)
    predicted = _joined(outputs)
    labels = {name: torch.cat([label_of(data, name) for data in dataset]) for name in LABELS if name in predicted}
    for values in (labels, predicted):
        values["energy"] = (values["energy"] - free) / sizes
    drawn = {
        name: (
            "(E - ΣE⁰)/N" if name == "energy" else name.replace("forces", "force component"),
            LABELS[name].unit,
        )
        for name in labels
        if bool(torch.isfinite(labels[name] - predicted[name]).any())
    }
    if not drawn:
        raise ValueError("no frame has a label to compare with")
    picture, axes = plots.figure(1, len(drawn), 3.6, 3.4)
    for axis, (name, (quantity, unit)) in zip(axes.flat, drawn.items(), strict=True):
        plots.parity(axis, labels[name].numpy(), {"model": predicted[name].numpy()}, quantity, unit)
    plots.save(picture, path)


def read_labelled(files: Sequence[str], keys: LabelKeys, potential: Potential) -> list[Data]:
    """Graphs of all files, of elements that the potential knows; prints which labels were found.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for unreadable files, unknown elements, or if no frame has a label; names file and frame.
    """
    dataset: list[Data] = []
    reports: list[LabelReport] = []
    labels = [*EXPECTED, *(name for name in potential.scales() if name in LABELS and name not in EXPECTED)]
    conditions = list(CONDITIONS) if len(potential.properties) else []
    for file in files:
        try:
            whole = AtomsDataset(file, potential.cutoff, keys, labels=[*labels, *conditions])
        except ValueError as error:
            raise ValueError(str(error).replace("--data.keys.", "--keys.")) from error
        for index, data in enumerate(whole):
            check_known(
                data.z, potential.elements, f"{file}, frame {index}", "remove the frame or train with that element"
            )
        dataset += whole.graphs
        reports += whole.reports
    if not any(report.count(name) for report in reports for name in labels):
        raise ValueError(f"{', '.join(files)}: no frame has a label; name them with --keys.energy, --keys.forces, ...")
    print_report(reports)
    return dataset
