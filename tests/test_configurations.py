"""Shipped configurations by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.strategies import DDPStrategy

from equireann_pyg.cli import configurations

ROOT = Path(__file__).parents[1]


def test_all_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"equireann", "equireann-plus-s", "equireann-plus-m", "equireann-plus-l", "float64"} <= set(
        configurations.names()
    )
    assert configurations.names() == sorted(path.stem for path in (ROOT / "configs").iterdir())
    for name in configurations.names():
        for written in (name, f"{name}.yaml"):
            assert configurations.find(written).read_text() == (ROOT / "configs" / f"{name}.yaml").read_text()


def test_the_middle_size_goes_by_a_shorter_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for written in ("equireann-plus", "equireann-plus.yaml"):
        assert configurations.find(written) == configurations.FOLDER / "equireann-plus-m.yaml"


def test_files_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "equireann").mkdir()  # a folder is no configuration
    assert configurations.find("equireann") == configurations.FOLDER / "equireann.yaml"
    Path("equireann.yaml").write_text("seed_everything: 2")
    assert configurations.find("equireann.yaml") == Path("equireann.yaml")
    assert configurations.find("equireann") == configurations.FOLDER / "equireann.yaml"
    assert configurations.find(tmp_path / "equireann.yaml") == tmp_path / "equireann.yaml"


@pytest.mark.parametrize("name", ["train", "train.yaml"])
def test_an_earlier_name_says_what_stands_for_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(FutureWarning, match="the configuration train is now equireann, .* use --config equireann"):
        assert configurations.find(name) == configurations.FOLDER / "equireann.yaml"
    Path(name).touch()
    assert configurations.find(name) == Path(name)


@pytest.mark.parametrize("name", ["equirean", "configs/none.yaml", "../equireann", "", "."])
def test_unknown_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        configurations.find(name)
    said = str(caught.value)
    assert said.startswith(f"{name}: no such file, and no configuration of the package: ")
    assert said.endswith(", ".join(configurations.names()))
    assert "\n" not in said


@pytest.mark.filterwarnings("ignore")  # jsonargparse would have another name of instantiate_classes
def test_the_overlay_for_gpus_reaches_trainer_and_data() -> None:
    overlay = yaml.safe_load(configurations.find("gpu").read_text())
    assert overlay["data"] == {"batches": {"num_workers": 4}}
    settings = {**overlay["trainer"], "logger": False, "enable_checkpointing": False}
    assert (settings["accelerator"], settings["devices"]) == ("gpu", "auto")
    assert "precision" not in settings  # it would undo `--config float64` before it
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(Trainer, "trainer")
    parsed = parser.parse_object({"trainer": settings | {"accelerator": "cpu"}})
    strategy = parser.instantiate_classes(parsed).trainer.strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy.process_group_backend == "nccl"
    assert strategy._ddp_kwargs["gradient_as_bucket_view"] is True
    assert torch.get_float32_matmul_precision() == "highest"  # nobody switches TF32 on
