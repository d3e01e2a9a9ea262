"""Models of the experiments, as the shipped configurations have them, and changes of these."""

from __future__ import annotations

import pytest
import torch

from experiments.runs import models

MINE = """
model:
  model: {class_path: EANN, init_args: {elements: [H], cutoff: 9.0, num_radial: 5}}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.3, momentum: 0.8}}
trainer:
  gradient_clip_val: 2.0
  callbacks: [{class_path: ExponentialMovingAverage, init_args: {decay: 0.5}}]
"""


@pytest.mark.parametrize("name", models.models())
def test_models_are_built_and_follow_the_case(name):
    recipe = models.models()[name]
    model = recipe.build(["H", "C"], 4.0, 5)
    assert model.num_iterations == (0 if name == "EANN" else 5)
    assert model.cutoff == 4.0


def test_the_three_of_the_paper_have_equal_sizes():
    made = {name: recipe.build(["H", "C"], 4.0) for name, recipe in models.models().items()}
    assert len({made[name].config["num_density"] for name in ("EANN", "REANN", "EquiREANN")}) == 1
    count = [sum(p.numel() for p in made[name].parameters()) for name in ("REANN", "EquiREANN")]
    assert count[0] == count[1] > 1000


def test_plans_come_from_the_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, clip in (("equireann", 10.0), ("equireann-plus", 1.0)):
        recipe = models.from_config(name)
        assert recipe.training.clip == clip
        assert recipe.training.optimizer["class_path"].startswith(("torch.optim.", "equireann_pyg."))
        assert recipe.repulsion == {"class_path": "ZBL"}
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml: no such file"):
        models.from_config("mine.yaml")
    (tmp_path / "mine.yaml").write_text(MINE)
    recipe = models.from_config("mine.yaml")
    assert recipe.plan == {"class_path": "EANN", "init_args": {"num_radial": 5}}
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3, "momentum": 0.8}}
    assert recipe.training == models.Training(optimizer, models.cosine(), 0, 0.5, 2.0, 8)
    assert recipe.repulsion is None


def test_a_training_is_made_of_its_plans(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    how = models.from_config(str(tmp_path / "mine.yaml")).training
    optimizer = how.make_optimizer()([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.8
    assert how.make_scheduler(77)(optimizer).T_max == 77


def test_changes_by_name():
    short = ["rule.hidden_channels=[7]", "optimizer.lr=5e-3", "repulsion=null", "trainer.callbacks.0.decay=0.9"]
    full = ["model.model.init_args.rule.init_args.hidden_channels=[7]", "model.optimizer.init_args.lr=0.005"]
    recipe = models.from_config("equireann-plus", [*short, "data.batches.size=3"])
    assert recipe.plan["init_args"]["rule"]["init_args"]["hidden_channels"] == [7]
    assert recipe.training.optimizer["init_args"]["lr"] == 0.005
    assert (recipe.training.decay, recipe.training.batch_size, recipe.repulsion) == (0.9, 3, None)
    assert models.from_config("equireann-plus", short) == models.from_config("equireann-plus", [*full, *short[2:]])
    assert models.from_config("equireann-plus") != recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rul.x=1", "there is no model.model.rul"),
        ("loss.energy=3", "case.energy_weight"),
        ("optimizer.lr", "expected a change"),
    ],
)
def test_changes_that_cannot_be_made(change, message):
    with pytest.raises(ValueError, match=message):
        models.from_config("equireann-plus", [change])


def test_sizes_that_are_shipped():
    assert list(models.sizes().values()) == [f"equireann-plus-{size}" for size in "sml"]
    assert models.standard() == "EquiREANN-plus-m"
    assert models.standard({"A-plus-s": None, "A-plus-m": None, "A-plus-l": None}) == "A-plus-m"


def test_an_impossible_plan_says_so():
    with pytest.raises(ValueError, match="does not fit"):
        models.built({"class_path": "EANN", "init_args": {"elements": ["H"], "no_such": 1}})


def test_the_mark_changes_with_model_and_settings():
    model = models.models()["EANN"].build(["H"], 4.0)
    other = models.models()["EANN"].build(["H"], 4.5)
    marks = {models.fingerprint(model), models.fingerprint(model, 1), models.fingerprint(other)}
    assert len(marks) == 3
    assert models.fingerprint(model) in marks
