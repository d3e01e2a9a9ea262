"""Rows of the tables: errors of a trained model on all tests, its scans, and the course of its training."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from equireann_pyg import Potential
from equireann_pyg.evaluation import errors_by_type, predict
from experiments.runs.case import Coordinate, Frames, Sets
from experiments.runs.job import Job
from experiments.runs.results import Row
from experiments.runs.train import Trained, batch_size


def measured(job: Job, sets: Sets, trained: Trained, epochs: int, mark: str) -> tuple[list[Row], list[Row]]:
    """Rows of all test sets, and scans."""
    rows, scans = [], []
    common = _common(job, sets, trained, epochs) | {"recipe": mark}
    for split, frames in sets.tests.items():
        outputs = predict(trained.potential, frames.graphs)
        rows += error_rows(common, split, frames, outputs)
        if frames.part.scan is not None:
            energies = [float(output["energy"]) for output in outputs]
            scans += scan_rows(common, split, frames, frames.part.scan, energies)
    return rows, scans


def error_rows(common: Row, split: str, frames: Frames, outputs: Sequence[Mapping[str, Tensor]]) -> list[Row]:
    """Errors of a test set, of all frames first, then of each kind; ``common`` is what all rows of a run share."""
    errors = errors_by_type(outputs, frames.graphs)
    if len(errors) == 2:  # one kind: the same as all
        errors = {"all": errors["all"]}
    rows = []
    for kind, values in sorted(errors.items(), key=lambda item: item[0] != "all"):
        numbers = {name: f"{value:.4g}" for name, value in values.items()}
        rows.append(common | numbers | {"split": split, "config_type": kind, "source": frames.source})
    return rows


def progress(job: Job, trained: Trained, mark: str) -> list[Row]:
    """Validation errors in the course of the training."""
    kept = {"case": job.case.name, "model": job.name, "seed": str(job.seed), "recipe": mark}
    return [
        kept
        | {"steps": f"{entry['steps']:.0f}", "minutes": f"{entry['busy'] / 60:.4g}"}
        | {name: f"{entry[name]:.4g}" for name in ("energy_rmse", "forces_rmse") if name in entry}
        for entry in trained.history
    ]


def scan_rows(common: Row, split: str, frames: Frames, coordinate: Coordinate, energies: list[float]) -> list[Row]:
    """Energies along a scan; ``common`` has case, model, seed and recipe."""
    kept = {name: common[name] for name in ("case", "model", "seed", "recipe")}
    points = zip(frames.values(coordinate), frames.graphs, energies, strict=True)
    return [
        kept
        | {"split": split, "group": str(graph.get("config_type") or ""), "x": f"{float(x):.6g}"}
        | {"reference": f"{float(graph.energy):.6f}", "prediction": f"{energy:.6f}"}
        for x, graph, energy in points
    ]


def _common(job: Job, sets: Sets, trained: Trained, epochs: int) -> Row:
    case, potential = job.case, trained.potential
    return {
        "case": case.name,
        "model": job.name,
        "minutes": "" if job.case.epochs else f"{job.minutes:g}",
        "epochs": str(epochs),
        "steps": str(trained.steps),
        "train_frames": str(len(sets.train.graphs)),
        "batch_size": str(batch_size(case, job.recipe)),
        "cutoff": f"{case.cutoff:g}",
        "iterations": str(getattr(potential.model, "num_iterations", "")),
        "parameters": str(parameters(potential)),
        "seed": str(job.seed),
        "seconds": f"{trained.seconds:.0f}",
        "ms_per_step": f"{trained.ms_per_step:.3g}",
        "threads": str(torch.get_num_threads()),
        "cpu": cpu(),
        "torch": version("torch"),
        "package": version("equireann_pyg"),
        "date": str(date.today()),
    }


def parameters(potential: Potential) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in potential.parameters())


def cpu() -> str:
    """Name of the processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
