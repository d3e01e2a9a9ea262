"""Joint training of energy, forces and properties on a folder of labelled structures, through the command line.

    python -m experiments.properties.run FOLDER [--properties Dipole] [--epochs 30] [--signs fireann]

The folder holds ``train*``, ``val*`` and ``test*``, files that ``ase.io.read`` opens.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import write

from equireann_pyg import LabelKeys
from equireann_pyg.cli import main as equireann
from equireann_pyg.data.reading import read_frames
from equireann_pyg.evaluation import errors_by_type, predict, read_labelled
from equireann_pyg.graph import LABELS, label_of
from equireann_pyg.potential.checkpoint import load_potential

RESULTS = Path(__file__).with_name("results.csv")
OPTIMIZER = "{class_path: torch.optim.AdamW, init_args: {lr: 0.005, weight_decay: 0.0, amsgrad: true}}"
SPLITS = ("train", "val", "test")
COLUMNS = ["data", "properties", "epochs", "seed", "seconds", "machine", "torch", "quantity", "rmse", "mae", "spread"]


def ordinary_signs(atoms: Atoms) -> Atoms:
    """FIREANN's data say F for minus the field and d2E/dF2 for the polarizability: both change their sign."""
    for name in ("external_field", "polarizability"):
        if name in atoms.info:
            atoms.info[name] = -np.asarray(atoms.info[name])
    return atoms


def files_of(folder: Path, signs: str, out: Path) -> dict[str, Path]:
    """Training, validation and test file; rewritten into ``out`` where signs change.

    Raises:
        FileNotFoundError: if a split is missing.
    """
    files = {}
    for split in SPLITS:
        found = sorted(path for path in folder.glob(f"{split}*") if path.is_file())
        if not found:
            raise FileNotFoundError(f"{folder}: no file {split}*")
        files[split] = found[0]
        if signs == "fireann":
            files[split] = out / f"{split}.extxyz"
            write(files[split], [ordinary_signs(atoms) for atoms in read_frames(found[0])], format="extxyz")
    return files


def train(files: dict[str, Path], options: argparse.Namespace, out: Path) -> float:
    """``equireann fit``; seconds.

    Raises:
        RuntimeError: if the command fails.
    """
    elements = sorted({symbol for atoms in read_frames(files["train"]) for symbol in atoms.symbols})
    schedule = "torch.optim.lr_scheduler.CosineAnnealingLR"
    settings = {
        "--seed_everything": options.seed,
        "--model.model.init_args.elements": f"[{','.join(elements)}]",
        "--model.model.init_args.cutoff": options.cutoff,
        "--model.model.init_args.num_iterations": options.iterations,
        "--model.properties": f"[{','.join(options.properties)}]",
        "--model.optimizer": OPTIMIZER,
        "--model.schedule.lr_scheduler": f"{{class_path: {schedule}, init_args: {{T_max: {options.epochs}}}}}",
        "--data.train": files["train"],
        "--data.val": files["val"],
        "--trainer.max_epochs": options.epochs,
        "--trainer.accelerator": "cpu",
        "--trainer.callbacks": "[{class_path: ExponentialMovingAverage, init_args: {decay: 0.99}}, "
        f"{{class_path: ModelCheckpoint, init_args: {{dirpath: {out}, filename: best, monitor: val/loss, "
        "enable_version_counter: false}}]",  # a second run replaces the file of the first
        "--trainer.logger": f"{{class_path: CSVLogger, init_args: {{save_dir: {out}}}}}",
    }
    words = [str(word) for pair in settings.items() for word in pair]
    (out / "best.ckpt").unlink(missing_ok=True)
    start = time.perf_counter()
    if equireann(["fit", "--config", "equireann", *words]):
        raise RuntimeError("equireann fit failed")
    return time.perf_counter() - start


def rows(files: dict[str, Path], checkpoint: Path) -> Iterator[tuple[str, float, float, float]]:
    """Quantity, test RMSE, MAE and spread of the test labels about their mean, in the units of the errors."""
    potential = load_potential(checkpoint)
    dataset = read_labelled([str(files["test"])], LabelKeys(), potential)
    errors = errors_by_type(predict(potential, dataset), dataset)["all"]
    free = torch.stack([potential.reference_energies[data.z].sum() for data in dataset])
    sizes = torch.tensor([data.z.numel() for data in dataset])
    for name in ("energy_per_atom", *LABELS):
        if f"{name}_rmse" not in errors:
            continue
        label = torch.cat([label_of(data, name.removesuffix("_per_atom")) for data in dataset])
        if name.startswith("energy"):
            label = (label - free) / (sizes if name == "energy_per_atom" else 1)
        label = label[torch.isfinite(label).flatten(1).all(1)] if label.dim() > 1 else label[torch.isfinite(label)]
        spread = 1e3 * float((label - label.mean(0)).square().mean().sqrt())
        yield name, errors[f"{name}_rmse"], errors[f"{name}_mae"], spread


def main() -> None:
    """Train, test, print, and append to ``results.csv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--properties", nargs="*", default=["Dipole"], help="classes of equireann_pyg.properties")
    parser.add_argument("--signs", choices=["ordinary", "fireann"], default="ordinary", help="signs of the data")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cutoff", type=float, default=4.0)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/properties"))
    options = parser.parse_args()
    out = options.out / f"{options.folder.resolve().name}-{'-'.join(options.properties) or 'none'}-{options.seed}"
    out.mkdir(parents=True, exist_ok=True)
    files = files_of(options.folder, options.signs, out)
    seconds = train(files, options, out)
    fresh = not RESULTS.exists()
    with open(RESULTS, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(COLUMNS)
        head = [
            options.folder.resolve().name,
            "+".join(options.properties),
            options.epochs,
            options.seed,
            round(seconds),
        ]
        head += [f"{platform.machine()} {torch.get_num_threads()} thread(s)", torch.__version__]
        for name, *values in rows(files, out / "best.ckpt"):
            writer.writerow([*head, name, *(f"{value:.4g}" for value in values)])
            print(f"{name:16} rmse {values[0]:9.4g}  mae {values[1]:9.4g}  spread {values[2]:9.4g}")


if __name__ == "__main__":
    main()
