"""What version 0.1 called otherwise works, means the same, and says what it is called now."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from equireann_pyg.cli import main
from equireann_pyg.cli.earlier import OPTIONS, Translation, present_words
from equireann_pyg.cli.earlier_plan import PlanSoFar

pytestmark = pytest.mark.filterwarnings("ignore:.* -> .*the earlier names")

EARLIER = """
seed_everything: 3
model:
  model:
    class_path: equireann_pyg.network.OrbitalNetwork
    init_args:
      cutoff: 3.0
      descriptor: {class_path: equireann_pyg.nn.Density, init_args: {num_density: 8}}
      num_radial: 4
      num_iterations: 1
      pair_radial: false
      radial_envelope: {class_path: equireann_pyg.nn.DecayingCutoff, init_args: {power: 4.0}}
      radial_width: 1.5
  loss: {class_path: EnergyForcesStressLoss, init_args: {energy: 5.0}}
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1e-2}}
  lr_scheduler: {class_path: CosineAnnealingLR, init_args: {T_max: 2}}
  lr_interval: epoch
  warmup_steps: 3
  compile: false
  compiled: false
data: {batch_size: 4, val_fraction: 0.25, seed: 2, num_workers: 0, max_atoms: null, max_edges: null}
trainer:
  accelerator: cpu
  max_epochs: 1
  callbacks:
    - {class_path: equireann_pyg.callbacks.ExponentialMovingAverage, init_args: {decay: 0.9}}
"""
PRESENT = """
seed_everything: 3
model:
  model:
    class_path: OrbitalNetwork
    init_args:
      cutoff: 3.0
      descriptor: {class_path: equireann_pyg.nn.Density, init_args: {num_density: 8}}
      num_iterations: 1
      radial:
        class_path: ElementRadial
        init_args:
          num_radial: 4
          width: 1.5
          envelope: {class_path: equireann_pyg.nn.DecayingCutoff, init_args: {power: 4.0}}
  loss: {class_path: PotentialLoss, init_args: {energy: 5.0}}
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1e-2}}
  schedule:
    lr_scheduler: {class_path: CosineAnnealingLR, init_args: {T_max: 2}}
    interval: epoch
    warmup_steps: 3
  evaluation: {compiled: false}
data:
  split: {fraction: 0.25, seed: 2}
  batches: {size: 4, seed: 2, num_workers: 0, max_atoms: null, max_edges: null}
trainer:
  accelerator: cpu
  max_epochs: 1
  callbacks:
    - {class_path: ExponentialMovingAverage, init_args: {decay: 0.9}}
"""


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Warnings of earlier names."""
    return [line for line in capsys.readouterr().err.splitlines() if "the earlier names will go with" in line]


def present(*words: str) -> list[str]:
    """Words in present terms, without configurations."""
    with ExitStack() as closing:
        return present_words(words, closing)


def test_a_configuration_means_the_same(workplace, capsys):
    saved = {}
    for name, text in (("earlier", EARLIER), ("present", PRESENT)):
        Path(f"{name}.yaml").write_text(text)
        assert main(["fit", "--config", f"{name}.yaml", "--data.train", "train.xyz", "--run", f"runs/{name}"]) == 0
        saved[name] = Path(f"runs/{name}/config.yaml").read_text()
        said = lines(capsys)
        assert bool(said) == (name == "earlier")
        assert len(said) <= 1
        for option, news in OPTIONS.items() if said else ():
            assert f"{option} -> {' and '.join(news)}, " in said[0]
        assert not said or "earlier.yaml: " in said[0]
        assert not said or "pair_radial of OrbitalNetwork -> radial ElementRadial" in said[0]
        assert not said or "radial_width of OrbitalNetwork -> radial.init_args.width" in said[0]
    paths = (
        ("equireann_pyg.models.O", "equireann_pyg.O"),
        ("equireann_pyg.nn.radial.", "equireann_pyg.nn."),
    )
    for long, short in paths:
        saved["earlier"] = saved["earlier"].replace(long, short)
    assert saved["earlier"] == saved["present"]
    assert "num_workers: 0" in saved["present"]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["earlier", "present"]
    assert main(["fit", "--config", "runs/earlier/config.yaml", "--run", "runs/again"]) == 0
    assert lines(capsys) == []


def test_words_mean_the_same(workplace, capsys):
    Path("present.yaml").write_text(PRESENT)
    common = ["fit", "--config", "present.yaml", "--data.train", "train.xyz"]
    earlier = ["--data.batch_size=3", "--data.seed", "5", "--model.warmup_steps", "7"]
    earlier += ["--model.loss", "EnergyForcesStressLoss", "--model.lr_scheduler.init_args.T_max", "9"]
    earlier += ["--model.model.init_args.radial_width", "1.25"]
    assert main([*common, *earlier, "--run", "runs/a"]) == 0
    (said,) = lines(capsys)
    assert "the command line: --data.batch_size -> --data.batches.size, " in said
    assert said.count(" -> ") == 6
    saved = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    assert saved["data"]["batches"]["size"] == 3
    assert saved["data"]["batches"]["seed"] == saved["data"]["split"]["seed"] == 5
    assert saved["model"]["schedule"]["warmup_steps"] == 7
    assert saved["model"]["schedule"]["lr_scheduler"]["init_args"]["T_max"] == 9
    assert saved["model"]["model"]["init_args"]["radial"]["class_path"].endswith("ElementRadial")
    assert saved["model"]["model"]["init_args"]["radial"]["init_args"]["width"] == 1.25
    assert saved["model"]["loss"]["class_path"].endswith("PotentialLoss")


def test_words_in_present_terms_stay_as_they_are():
    words = [
        "fit",
        "--data.train=a b.xyz",
        "--trainer.max_epochs",
        "-1",
        "--data.batches.size",
        "3",
        "x",
        "--print_config",
    ]
    words += ["--model.model.init_args.num_radial", "4"]  # of EquiREANN
    assert present(*words) == words


def test_a_plan_comes_before_its_arguments():
    kind = ["--model.model", "OrbitalNetwork"]
    name = "--model.model.init_args.radial"
    assert present(*kind, "--model.model.num_radial", "4", "--model.compile", "true") == [
        "--model.model=OrbitalNetwork",
        f"{name}=PairRadial",
        f"{name}.init_args.num_radial=4",
        "--model.evaluation.compiled=true",
    ]
    given = [name, "ElementRadial", "--model.model.radial_envelope.init_args.p", "4"]
    assert present(*kind, *given)[1:] == [f"{name}=ElementRadial"] * 2 + [f"{name}.init_args.envelope.init_args.p=4"]
    assert present(*kind, "--model.model.init_args.pair_radial", "false")[1:] == [f"{name}=ElementRadial"]
    again = ["--model.model.init_args.pair_radial", "false", "--model.model.radial_width=1e-1"]
    assert present(*kind, *again)[1:] == [f"{name}=ElementRadial"] * 2 + [f"{name}.init_args.width=0.1"]


def plan_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Class and arguments of the model by a command line."""
    return printed(capsys, *words)["model"]["model"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The configuration that a command line means."""
    assert main(["fit", *words, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


NETWORK = """
class_path: OrbitalNetwork
init_args: {elements: [H], cutoff: 3.0, descriptor: {class_path: Density}, pair_radial: false, radial_width: 2.0}
"""


def write(name: str, text: str, *rooms: str) -> None:
    """A configuration with entries below some rooms."""
    entry = yaml.safe_load(text)
    for room in reversed(rooms):
        entry = {room: entry}
    Path(name).write_text(yaml.safe_dump(entry))


@pytest.mark.parametrize(
    "overlay",
    [
        ["--config", "overlay.yaml"],
        ["--model", "part.yaml"],
        ["--model.model", "{init_args: {num_radial: 6}}"],
        ["--model.model.init_args={num_radial: 6}"],
        ["--model.model.num_radial", "6"],
    ],
)
def test_overlays_keep_what_stands_before(workplace, capsys, overlay):
    write("network.yaml", NETWORK, "model", "model")
    write("overlay.yaml", "init_args: {num_radial: 6}", "model", "model")
    write("part.yaml", NETWORK.replace("pair_radial: false, radial_width: 2.0", "num_radial: 6"), "model")
    radial = plan_of(capsys, "--config", "network.yaml", *overlay)["init_args"]["radial"]
    assert radial["class_path"].endswith("ElementRadial")
    assert (radial["init_args"]["num_radial"], radial["init_args"]["width"]) == (6, 2.0)


def test_overlays_the_other_way_round(workplace, capsys):
    write("whole.yaml", NETWORK.replace("pair_radial: false, radial_width: 2.0", "num_radial: 6"), "model", "model")
    write("overlay.yaml", "init_args: {pair_radial: false, radial_width: 2.0}", "model", "model")
    radial = plan_of(capsys, "-c", "whole.yaml", "-c", "overlay.yaml")["init_args"]["radial"]
    assert radial["class_path"].endswith("ElementRadial")
    assert (radial["init_args"]["num_radial"], radial["init_args"]["width"]) == (6, 2.0)
    write("plain.yaml", NETWORK.replace(", pair_radial: false, radial_width: 2.0", ""), "model", "model")
    write("overlay.yaml", "init_args: {num_radial: 6}", "model", "model")
    radial = plan_of(capsys, "-c=plain.yaml", "--config=overlay.yaml")["init_args"]["radial"]
    assert radial["class_path"].endswith("PairRadial")
    assert radial["init_args"]["num_radial"] == 6


def test_sections_in_files_and_in_words(workplace, capsys):
    write("data.yaml", "{batch_size: 4, seed: 5}")
    write("network.yaml", NETWORK)
    found = printed(capsys, "--data", "data.yaml", "--model", "{compile: true}", "--model.model", "network.yaml")
    assert found["data"]["batches"]["size"] == 4
    assert found["data"]["batches"]["seed"] == found["data"]["split"]["seed"] == 5
    assert found["model"]["evaluation"]["compiled"] is True
    assert found["model"]["model"]["init_args"]["radial"]["init_args"]["width"] == 2.0
    Path("configs").mkdir()
    write("configs/data.yaml", "{batch_size: 7}")
    write("configs/model.yaml", "{compile: true, model: network.yaml}")
    write("configs/network.yaml", NETWORK)
    write("configs/whole.yaml", "{data: data.yaml, model: model.yaml}")
    found = printed(capsys, "--config", "configs/whole.yaml")
    assert found["data"]["batches"]["size"] == 7
    assert found["model"]["evaluation"]["compiled"] is True
    assert found["model"]["model"]["init_args"]["radial"]["class_path"].endswith("ElementRadial")


def test_sections_in_present_terms_stay_as_they_are(workplace):
    write("data.yaml", "{batches: {size: 4}}")
    words = ["fit", "--data", "data.yaml", "--model", "{evaluation: {compiled: true}}"]
    words += ["--model.model", "{class_path: EquiREANN}"]
    words += ["--trainer.callbacks", "[{class_path: ExponentialMovingAverage}]", "--data.train", "[a.xyz, b.xyz]"]
    assert present(*words) == words


def test_flags_of_named_models():
    words = ["--model.model", "REANN", "--model.model.init_args.share_contraction", "false", "--data.seed", "1"]
    assert present(*words) == ["--model.model=REANN", "--data.split.seed=1", "--data.batches.seed=1"]
    with pytest.raises(ValueError, match=r"has no radial: make it of OrbitalNetwork"):
        present(
            "--model.model", "EquiREANN", "--model.model.pair_radial", "false", "--model.model.radial", "PairRadial"
        )
    entry = {
        "model": {"model": {"class_path": "EquiREANN", "init_args": {"num_density": 8, "share_contraction": True}}}
    }
    plan = Translation("a.yaml").entry(entry)["model"]["model"]
    assert plan["class_path"].endswith("OrbitalNetwork")
    assert plan["init_args"]["descriptor"]["class_path"].endswith("Shared")
    assert entry["model"]["model"]["class_path"] == "EquiREANN"  # what was given is left alone


def test_arguments_of_a_named_model_with_flags(workplace, capsys):
    text = "{class_path: EquiREANN, init_args: {elements: [H], cutoff: 3.0, num_density: 16, share_contraction: true}}"
    write("named.yaml", text, "model", "model")
    write("overlay.yaml", "init_args: {hidden_channels: [32]}", "model", "model")
    common = ["--config", "named.yaml", "--config", "overlay.yaml"]
    plan = plan_of(capsys, *common, "--model.model.num_radial", "5", "--model.model.init_args.pair_radial=false")
    assert plan["class_path"].endswith("OrbitalNetwork")
    arguments = plan["init_args"]
    assert arguments["elements"] == ["H"]
    assert arguments["descriptor"]["init_args"]["descriptor"]["init_args"]["num_density"] == 16
    assert arguments["rule"]["init_args"]["hidden_channels"] == [32]
    assert arguments["readout"]["init_args"]["hidden_channels"] == [32]
    assert arguments["radial"]["class_path"].endswith("ElementRadial")
    assert arguments["radial"]["init_args"]["num_radial"] == 5
    plan = plan_of(capsys, *common, "--model.model.share_contraction", "false")
    assert plan["class_path"].endswith("EquiREANN")
    assert plan["init_args"]["num_density"] == 16
    assert plan["init_args"]["hidden_channels"] == [32]


def test_entries_of_overlays_and_of_subcommands():
    def entries(entry: Any, kind: str = "") -> Any:
        return Translation("a.yaml", PlanSoFar(kind)).entry(entry)

    assert entries({"data": {"batch_size": 2}}) == {"data": {"batches": {"size": 2}}}
    both = {"data": {"batch_size": 2, "batches": {"size": 3}}}
    assert entries(both) == {"data": {"batches": {"size": 3}}}
    below = {"fit": {"model": {"compile": True, "model": {"init_args": {"radial_width": 2.0}}}}, "data": None}
    found = entries(below, "OrbitalNetwork")
    assert found["fit"]["model"]["evaluation"]["compiled"] is True
    assert found["fit"]["model"]["model"]["init_args"]["radial"]["init_args"] == {"width": 2.0}
    assert "class_path" not in found["fit"]["model"]["model"]
    for entry in (None, [], "text", {"model": None}):
        assert entries(entry) == entry
