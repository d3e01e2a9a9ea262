"""Times the package on a CUDA device: what ``python -m experiments.speed.run --device cuda`` does.

A process of its own works through the parts. If a contestant breaks it or the device, or time runs out, what has been measured
is in the files, and a new process goes on without that contestant.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.speed import rivals
from experiments.speed.card import CardCeilings, card_ceilings, card_line, card_name, device_of
from experiments.speed.clock import LostDeviceError, reason, require_device
from experiments.speed.goals import GOAL_COLUMNS, GOAL_KEYS, goal_rows
from experiments.speed.million import measure_side
from experiments.speed.operators import rows_of
from experiments.speed.report import Row, table
from experiments.speed.rows import COLUMNS, KEYS, OPERATOR_COLUMNS, OPERATOR_KEYS, merge, read, say_machine
from experiments.speed.units import GROUPS, Choice, Measuring, Unit, units_of

FOLDER = Path(__file__).with_name("cuda")
LOST = 75  # exit code of a process that cannot use the device any more
ROOT = Path(__file__).parents[2]
LONGEST = 6 * 3600.0  # seconds that a process may hang


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure part by part, in processes of their own; print and write."""
    words = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args([part for word in words for part in word.split(",")])
    if args.worker is not None:
        work(args.worker)
        return
    device_of(args.device)
    models = tuple(args.models or (("plus-m", "EquiREANN") if args.quick else [*rivals.MODELS][:-1]))
    paths = tuple(args.paths or [name for name in rivals.ALL_PATHS if not (args.quick and name == "compiled")])
    groups = args.only or [group for group in GROUPS if not (args.quick and group == "peers")]
    units = units_of(Choice(tuple(groups), models, paths, args.quick))
    state: dict[str, Any] = {
        "device": args.device,
        "seconds": args.seconds or (1.0 if args.quick else 3.0),
        "sites": [str(site.resolve()) for site in args.sites],
        "out": str(args.out.resolve()),
        "units": [asdict(unit) for unit in units],
        "without": [],
        "card": "",
    }
    state = supervise(state, args.limit)
    report(args.out, state["card"], {unit.case for unit in units})


def parser() -> argparse.ArgumentParser:
    """Options of the measurement on a device."""
    made = argparse.ArgumentParser(prog="python -m experiments.speed.run", description=__doc__.splitlines()[0])
    made.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    made.add_argument(
        "--quick", action="store_true", help="few cases, nothing compiled by torch, no peers: two minutes"
    )
    made.add_argument("--only", nargs="+", type=_listed(GROUPS), help=f"parts, of {', '.join(GROUPS)}")
    made.add_argument("--models", nargs="+", type=_listed(rivals.MODELS), help="default: all")
    made.add_argument("--paths", nargs="+", type=_listed(rivals.ALL_PATHS), help="default: all")
    made.add_argument("--seconds", type=float, help="time for the rounds of one part")
    made.add_argument(
        "--limit", type=float, default=math.inf, help="seconds after which everything ends; default: none"
    )
    made.add_argument("--sites", nargs="+", type=Path, default=[], help="folders with the packages of the peers")
    made.add_argument("--out", type=Path, default=FOLDER, help="folder of the files, which are filled up")
    made.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return made


def _listed(names: Any) -> Any:
    def known(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text}: expected one of {', '.join(names)}")
        return text

    return known


def supervise(state: dict[str, Any], limit: float) -> dict[str, Any]:
    """Run processes until no part remains or the time is over; give the last state."""
    end = time.monotonic() + limit
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.json"
        while state["units"] and (left := end - time.monotonic()) > 10:
            file.write_text(json.dumps(state))
            command = [sys.executable, "-m", "experiments.speed.cuda", "--worker", str(file)]
            try:
                code = subprocess.run(command, cwd=ROOT, timeout=min(left, LONGEST), check=False).returncode
                why = f"the process ended with code {code}"
            except subprocess.TimeoutExpired:
                code, why = -1, f"not done within {min(left, LONGEST):.0f} s"
            state = json.loads(file.read_text())
            if code == 0:
                break
            _blame(state, why)
    if state["units"]:
        print("not measured:", *(str(_unit(unit)) for unit in state["units"]), flush=True)
    return state


def _unit(fields: dict[str, Any]) -> Unit:
    return Unit(**fields | {"contestants": tuple(fields["contestants"])})


def _blame(state: dict[str, Any], why: str) -> None:
    """Leave out the contestant whose turn it was; without one, the part."""
    if not state["units"]:
        return
    unit, name, card = _unit(state["units"][0]), state.get("now", ""), state["card"]
    row = {"card": card, "case": unit.case, "step": unit.step, "contestant": name or unit.group}
    out, error = Path(state["out"]), state.pop("error", "") or why
    print(f"{unit}, {name or 'all'}: {error}", flush=True)
    merge(out / "results.csv", [row | {"note": f"failed: {error}"}], COLUMNS, KEYS)
    if name and [str(unit), name] not in state["without"]:
        state["without"].append([str(unit), name])
    else:
        state["units"].pop(0)
    state["now"] = ""


def work(file: Path) -> None:
    """Measure the parts that remain; what remains, and whose turn it is, stands in the file."""
    state = json.loads(file.read_text())
    device, out = device_of(state["device"]), Path(state["out"])
    torch.set_num_threads(1)
    small = () if device.type == "cuda" else (256, 1 << 20)
    if "ceilings" not in state:
        state["ceilings"], state["card"] = asdict(card_ceilings(device, *small)), card_name(device)
    ceilings = CardCeilings(**state["ceilings"])
    line = card_line(device, ceilings)
    print(line, flush=True)
    say_machine(out / "machine.txt", line)

    def note(name: str) -> None:
        if state.get("now") != name:
            state["now"] = name
            file.write_text(json.dumps(state))

    while state["units"]:
        unit, start = _unit(state["units"][0]), time.monotonic()
        note("")
        without = frozenset(name for where, name in state["without"] if where == str(unit))
        sites = tuple(map(Path, state["sites"]))
        try:
            measure(unit, Measuring(device, state["seconds"], ceilings, sites, note, without), out)
        except LostDeviceError as error:
            state["error"] = str(error)
            file.write_text(json.dumps(state))
            sys.exit(LOST)
        print(f"{unit}: {time.monotonic() - start:.0f} s", flush=True)
        state["units"].pop(0)
        file.write_text(json.dumps(state))


def measure(unit: Unit, measuring: Measuring, out: Path) -> None:
    """Measure one part and put its rows into the files."""
    device, card = measuring.device, card_name(measuring.device)
    if unit.group == "operators":
        rows = list(rows_of(unit.case, device, 0.1, measuring.ceilings.gbytes))
        merge(out / "operators.csv", rows, OPERATOR_COLUMNS, OPERATOR_KEYS)
        if any("lost" in row.get("note", "") for row in rows):
            raise LostDeviceError(rows[-1]["note"])
        return
    try:
        rows = _million(unit, measuring) if unit.group == "million" else measuring.rows(unit)
    except LostDeviceError:
        raise
    except Exception as error:
        name = unit.contestants[0] if len(unit.contestants) == 1 else unit.group
        rows = [{"case": unit.case, "step": unit.step, "contestant": name, "note": f"failed: {reason(error)}"}]
        print(f"{unit}: {reason(error)}", flush=True)
        require_device()
    merge(out / "results.csv", [{"card": card} | row for row in rows], COLUMNS, KEYS)


def _million(unit: Unit, measuring: Measuring) -> list[Row]:
    rivals.evaluator.cache_clear()  # recorded graphs keep memory
    gc.collect()
    (name,) = unit.contestants
    if name in measuring.without:
        return []
    measuring.note(name)
    side = round((int(unit.case.removeprefix("cu")) / 4) ** (1 / 3))
    potential = rivals.model_of("plus-m", measuring.device)
    return measure_side(side, potential, measuring.device, measuring.seconds)


def report(out: Path, card: str, cases: set[str]) -> None:
    """Print the rows of the cases of this run, and all promises; write the latter."""
    results, operators = read(out / "results.csv"), read(out / "operators.csv")
    goals = list(goal_rows(card, results, operators))
    merge(out / "targets.csv", goals, GOAL_COLUMNS, GOAL_KEYS)
    console = Console(width=170)
    mine = [row for row in results if row["card"] == card and row["case"] in cases]
    lines = [row for row in operators if row["card"] == card and row["case"] in cases]
    console.print(table("Operators", lines, OPERATOR_COLUMNS[1:]))
    console.print(table("Every contestant", mine, COLUMNS[1:]))
    console.print(table("Targets", goals, GOAL_COLUMNS))


if __name__ == "__main__":
    main()
