"""What version 0.1 called otherwise works, means the same, and says what it is called now."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from equireann_pyg.cli import main
from equireann_pyg.cli.earlier import OPTIONS, present_entries, present_words

pytestmark = pytest.mark.filterwarnings("ignore:.* is now .*earlier name")

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
  compiled: false
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
    return [line for line in capsys.readouterr().err.splitlines() if "the earlier name will go with" in line]


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
        for option, news in OPTIONS.items() if said else ():
            assert any(f"earlier.yaml: {option} is now {' and '.join(news)};" in line for line in said)
        assert not said or any(
            "pair_radial, radial_envelope, radial_width of OrbitalNetwork is now radial" in x for x in said
        )
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
    earlier = [
        "--data.batch_size=3",
        "--data.seed",
        "5",
        "--model.warmup_steps",
        "7",
        "--model.loss",
        "EnergyForcesStressLoss",
    ]
    earlier += ["--model.lr_scheduler.init_args.T_max", "9", "--model.model.init_args.radial_width", "1.25"]
    assert main([*common, *earlier, "--run", "runs/a"]) == 0
    assert len(lines(capsys)) == 6
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
        "--model.compiled=true",
        f"{name}=PairRadial",
        f"{name}.init_args.num_radial=4",
    ]
    given = [name, "ElementRadial", "--model.model.radial_envelope.init_args.p", "4"]
    assert present(*kind, *given)[1:] == [f"{name}=ElementRadial", f"{name}.init_args.envelope.init_args.p=4"]
    assert present(*kind, "--model.model.init_args.pair_radial", "false")[1:] == [f"{name}=ElementRadial"]


def test_flags_of_named_models():
    words = ["--model.model", "REANN", "--model.model.init_args.share_contraction", "false", "--data.seed", "1"]
    assert present(*words) == ["--model.model=REANN", "--data.split.seed=1", "--data.batches.seed=1"]
    with pytest.raises(ValueError, match=r"pair_radial false: EquiREANN has no such flag any more; .* OrbitalNetwork"):
        present("--model.model", "EquiREANN", "--model.model.init_args.pair_radial", "false")
    entry = {
        "model": {"model": {"class_path": "EquiREANN", "init_args": {"num_density": 8, "share_contraction": True}}}
    }
    plan = present_entries(entry, "", "a.yaml")["model"]["model"]
    assert plan["class_path"].endswith("OrbitalNetwork")
    assert plan["init_args"]["descriptor"]["class_path"].endswith("Shared")
    assert entry["model"]["model"]["class_path"] == "EquiREANN"  # what was given is left alone


def test_entries_of_overlays_and_of_subcommands():
    assert present_entries({"data": {"batch_size": 2}}, "", "a.yaml") == {"data": {"batches": {"size": 2}}}
    both = {"data": {"batch_size": 2, "batches": {"size": 3}}}
    assert present_entries(both, "", "a.yaml") == {"data": {"batches": {"size": 3}}}
    below = {"fit": {"model": {"compile": True, "model": {"init_args": {"radial_width": 2.0}}}}, "data": None}
    found = present_entries(below, "OrbitalNetwork", "a.yaml")
    assert found["fit"]["model"]["compiled"] is True
    assert found["fit"]["model"]["model"]["init_args"]["radial"]["init_args"] == {"width": 2.0}
    assert "class_path" not in found["fit"]["model"]["model"]
    for entry in (None, [], "text", {"model": None}):
        assert present_entries(entry, "", "a.yaml") == entry
