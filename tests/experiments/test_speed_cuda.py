"""The measurement on a CUDA device, as far as a CPU can tell: its counts, options, turns, files and promises."""

from __future__ import annotations

import csv
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from equireann_pyg import EquiREANNPlus
from equireann_pyg.ops import Operator
from experiments.speed import card, cuda, million, operators, rivals, run
from experiments.speed.cases import CASES, potential
from experiments.speed.clock import Sample, middle, reason, spread, take_turns
from experiments.speed.goals import GOALS, goal_rows
from experiments.speed.rows import COLUMNS, KEYS, OPERATOR_COLUMNS, merge, read, say_machine
from experiments.speed.units import GROUPS, Choice, Measuring, Unit, units_of

CPU = torch.device("cpu")
CEILINGS = card.CardCeilings(10.0, 100.0, 50.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("main", [run.main, cuda.main, operators.main])
def test_says_what_it_needs_without_a_gpu(main):
    with pytest.raises(SystemExit, match="needs an NVIDIA GPU"):
        main(["--device", "cuda"])


def test_options_are_separated_by_commas_or_blanks(monkeypatch, tmp_path):
    states = []
    monkeypatch.setattr(cuda, "device_of", lambda name: CPU)
    monkeypatch.setattr(cuda, "supervise", lambda state, limit: states.append(state) or state)
    monkeypatch.setattr(cuda, "report", lambda *arguments: None)
    for words in (["--only", "latency,training"], ["--only", "latency", "training"]):
        run.main(["--device", "cuda", "--quick", "--out", str(tmp_path), *words])
    assert states[0] == states[1]
    assert {unit["group"] for unit in states[0]["units"]} == {"latency", "training"}
    assert not any("compiled" in name for unit in states[0]["units"] for name in unit["contestants"])
    with pytest.raises(SystemExit):
        cuda.parser().parse_args(["--only", "nothing"])


def test_every_part_has_its_contestants():
    units = units_of(Choice(GROUPS, tuple(rivals.MODELS), tuple(rivals.ALL_PATHS)))
    assert [unit.group for unit in units] == sorted((unit.group for unit in units), key=GROUPS.index)
    (crystal,) = (unit for unit in units if (unit.group, unit.case) == ("crystal", "cu10192"))
    assert {"plus-m kernels", "plus-m graphed", "plus-m blocks", "plus-l kernels", "EquiREANN plain"} <= set(
        crystal.contestants
    )
    assert "SchNet kernels" not in crystal.contestants
    training = [name for unit in units if unit.step == "training" for name in unit.contestants]
    assert any(name.endswith("graphed") for name in training)
    assert not any(name.endswith("blocks") for name in training)
    assert len({str(unit) for unit in units}) == len(units)


def test_bytes_are_those_of_the_tensors():
    calls = [one for one in operators.recorded("mol1", CPU) if one.name == "orbital_sum"]
    one = max(calls, key=lambda call: len(call.shapes))
    atoms, edges = 21, one.values[2].size(1)
    work = operators.work_of(one, "forward")
    assert work is not None
    assert work.moved == operators.orbital_sum_bytes(atoms, edges, 96, 16, 16)
    first, second = (operators.work_of(one, order) for order in ("first", "second"))
    assert work.moved < first.moved < second.moved < 4 * work.moved


def test_operators_are_recorded_once_and_left_as_they_were():
    original = Operator.__call__
    names = [one.name for one in operators.recorded("mol1", CPU)]
    assert Operator.__call__ is original
    wanted = {"orbital_sum", "gaussians", "polynomials", "self_coupled", "product_invariants"}
    assert wanted | {"element_linear", "degree_linear", "soft_standardize", "density"} <= set(names)


@pytest.mark.usefixtures("kernels")
def test_kernels_and_references_of_operators_agree(tmp_path, capsys):
    operators.main(["--seconds", "0", "--names", "gaussians", "orbital_sum", "--out", str(tmp_path)])
    with open(tmp_path / "operators.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["order"] for row in rows] == 4 * ["forward", "first", "second"]
    assert all(float(row["deviation"]) < 1e-4 and float(row["kernel us"]) > 0 and not row["note"] for row in rows)
    assert list(rows[0]) == list(OPERATOR_COLUMNS)
    assert "orbital_sum" in capsys.readouterr().out


def test_a_contestant_that_fails_does_not_stop_the_others():
    calls = []

    def broken(number: int) -> Sample:
        calls.append(number)
        if len(calls) > 3:
            raise ValueError("no more\nof this")
        return Sample(0.1, 0.1)

    turns = take_turns({"good": lambda number: Sample(0.2, 0.3), "broken": broken}, 0, min_rounds=4)
    assert len(turns.samples["good"]) == 4
    assert turns.failed == {"broken": "ValueError: no more"}
    assert "broken" not in turns.samples
    assert middle(turns.samples["good"], "wall") == 0.3
    assert spread(turns.samples["good"]) == 0


def test_a_part_is_measured_on_any_device(tmp_path):
    names = ("plus-m plain", "plus-m kernels", "plus-m nonsense")
    measuring = Measuring(CPU, 0.0, CEILINGS)
    rows = {row["contestant"]: row for row in measuring.rows(Unit("latency", "mol1", "inference", names))}
    assert float(rows["plus-m kernels"]["deviation"]) < 1e-4
    assert float(rows["plus-m kernels"]["ms"]) > 0
    assert rows["plus-m nonsense"]["note"].startswith("failed: KeyError")
    assert not rows["plus-m plain"].get("note")
    (step,) = measuring.rows(Unit("training", "mol1", "optimiser", ("plus-m Muon",)))
    assert float(step["ms"]) > 0


@pytest.mark.skipif(find_spec("nequip") is not None, reason="needs a Python without nequip")
def test_peers_that_are_missing_say_so():
    (row,) = Measuring(CPU, 0.0, CEILINGS).rows(Unit("peers", "mol1", "inference", ("NequIP-M",)))
    assert "No module named 'nequip'" in row["note"]


def test_rows_of_several_runs_fill_one_file(tmp_path):
    def row(contestant: str, ms: str, card: str = "A") -> dict[str, str]:
        return {"card": card, "case": "mol1", "step": "inference", "contestant": contestant, "ms": ms}

    file = tmp_path / "new" / "results.csv"
    merge(file, [row("a", "1"), row("b", "2")], COLUMNS, KEYS)
    merge(file, [row("b", "3"), row("b", "4", "B")], COLUMNS, KEYS)
    assert [(line["card"], line["contestant"], line["ms"]) for line in read(file)] == [
        ("A", "a", "1"),
        ("A", "b", "3"),
        ("B", "b", "4"),
    ]
    for line in ("A: old", "B: one", "A: new"):
        say_machine(tmp_path / "machine.txt", line)
    assert (tmp_path / "machine.txt").read_text() == "B: one\nA: new\n"


def test_promises_are_read_off_the_rows():
    results = [
        {"card": "A", "case": "cu10192", "step": "inference", "contestant": f"plus-m {path}", "us/atom": time}
        for path, time in (("plain", "0.1"), ("kernels", "1.5"), ("graphed", "0.9"), ("compiled", ""))
    ]
    sums = [{"card": "A", "case": "cu10192", "operator": "orbital_sum", "order": "forward", "kernel us": "1"}]
    sums[0] |= {"shapes": "10192x96 10192x16x16", "of copy": "0.4"}
    rows = list(goal_rows("A", results, sums))
    assert [row["met"] for row in rows] == ["yes", "no", *3 * ["not measured"]]
    assert rows[0]["by"] == "plus-m graphed"
    assert all(row["met"] == "not measured" for row in goal_rows("B", results, sums))
    assert len(rows) == len(GOALS)


def test_a_million_atoms_of_copper():
    pos, cell = million.lattice(3, CPU)
    assert torch.equal(cell, 3 * million.CONSTANT * torch.eye(3, dtype=cell.dtype))
    assert len(pos) == 4 * 3**3
    assert len(pos) / 27 * million.SIDE**3 == 1000188


def test_copper_in_blocks_is_measured(capsys):
    rows = million.measure_side(3, potential(EquiREANNPlus), CPU, 0.0)
    assert [row["step"] for row in rows] == ["neighbours", "inference"]
    assert "expected" in capsys.readouterr().out


def test_a_lost_process_is_blamed_on_the_contestant_whose_turn_it_was(tmp_path, monkeypatch, capsys):
    unit = Unit("latency", "mol1", "inference", ("plus-m plain",))
    state = {"units": [asdict(unit)], "without": [], "card": "A", "out": str(tmp_path), "now": "plus-m plain"}
    cuda._blame(state, "the process ended with code -11")
    assert state["without"] == [["latency/mol1/inference", "plus-m plain"]]
    assert len(state["units"]) == 1
    assert read(Path(tmp_path) / "results.csv")[0]["note"] == "failed: the process ended with code -11"
    cuda._blame(state, "the process ended with code -11")  # before any contestant had its turn
    assert state["units"] == []
    assert "plus-m plain" in capsys.readouterr().out


def test_errors_fit_into_a_cell():
    assert reason(ValueError("a, b\nc")) == "ValueError: a; b"
    assert CASES["mol1"]().z.numel() == 21


def test_a_cube_is_found_by_its_number_of_atoms(monkeypatch):
    sides = []
    monkeypatch.setattr(cuda, "measure_side", lambda side, *rest: sides.append(side) or [])
    for unit in units_of(Choice(("million",), ("plus-m",), ("blocks",))):
        cuda._million(unit, Measuring(CPU, 0.0, CEILINGS))
    assert sides == [32, million.SIDE]
