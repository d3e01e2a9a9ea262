"""Times the package and its peers, and prints which targets are met.

    python -m experiments.speed.run [--quick] [--mace-python PATH] [--reann PATH] [--out FOLDER]
    python -m experiments.speed.run --device cuda [--quick] [--only GROUP ...] [--sites FOLDER ...] [--out FOLDER]

Writes results.csv (every path of every case), targets.csv and machine.txt.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: huge pages for large tensors; read when torch is loaded

import torch
from rich.console import Console

from experiments.speed import cuda
from experiments.speed.floor import ceilings
from experiments.speed.measure import Group, Options, measure, measure_large
from experiments.speed.paths import PATHS
from experiments.speed.report import COLUMNS, machine, result_rows, table, target_rows, write
from experiments.speed.targets import Results

PEERS = ("SchNet", "original REANN")
QUICK = [
    Group("mol1", "inference", PEERS),
    Group("train8", "training", PEERS),
    Group("mol64", "inference", PEERS),
    Group("cu108", "inference", PEERS),
]
FULL = [
    Group("mol1", "inference", PEERS),
    Group("train8", "training", (*PEERS, "MACE-medium"), memory=True),
    Group("mol64", "inference", PEERS),
    Group("cu108", "inference", (*PEERS, "MACE-medium")),
    Group("cu864", "inference", PEERS, memory=True),
    Group("cu864", "training", memory=True),
    Group("cu4000", "inference"),
]
LARGE = ("cu1008", "cu10192", "cu100920")


def main(arguments: list[str] | None = None, groups: list[Group] | None = None) -> None:
    """Measure, print, write."""
    words = sys.argv[1:] if arguments is None else arguments
    if _device(words) == "cuda":
        cuda.main(words)
        return
    args = _parser().parse_args(words)
    torch.set_num_threads(1)
    console = Console(width=140)
    options = Options(
        seconds=args.seconds or (5 if args.quick else 40),
        paths=tuple(args.paths or (name for name in PATHS if not (args.quick and name == "compiled"))),
        ceiling=ceilings(),
        mace_python=args.mace_python,
        reann=args.reann,
    )
    line, results = machine(options.ceiling), Results()
    console.print(line, soft_wrap=True)
    for group in groups or (QUICK if args.quick else FULL):
        with console.status(f"{group.case}, {group.step}"):
            results.cases[group.case, group.step] = measure(group, options)
        save(results, line, args.out)
    if not args.quick:
        with console.status("large systems"):
            results.large = measure_large(LARGE, options.seconds)
        save(results, line, args.out)
    console.print(table("Every path", result_rows(results), COLUMNS))
    console.print(table("Targets", target_rows(results), ("target", "measured", "bound", "met", "by")))


def save(results: Results, line: str, out: Path) -> None:
    """Write what has been measured so far."""
    out.mkdir(parents=True, exist_ok=True)
    write(out / "results.csv", result_rows(results), COLUMNS)
    write(out / "targets.csv", target_rows(results), ("target", "measured", "bound", "met", "by"))
    (out / "machine.txt").write_text(line + "\n")


def _device(words: Sequence[str]) -> str:
    """The device that was asked for; on a CUDA device there are other options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device", default="cpu")
    return str(parser.parse_known_args(words)[0].device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda: other options, see --device cuda --help"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small cases, few rounds, nothing compiled by torch, no large systems"
    )
    parser.add_argument("--paths", nargs="+", choices=PATHS, help="paths to measure beside the plain one")
    parser.add_argument("--seconds", type=float, help="time for the rounds of one case")
    parser.add_argument("--mace-python", type=_existing, help="interpreter that has mace-torch")
    parser.add_argument("--reann", type=_existing, help="clone of https://github.com/zhangylch/REANN")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the files")
    return parser


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


if __name__ == "__main__":
    main()
