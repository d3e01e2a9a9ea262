"""The general scheme: every descriptor with every message rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import (
    EANN,
    REANN,
    EquiREANN,
    OrbitalNetwork,
    Potential,
    edge_vectors,
    load_potential,
    save_potential,
)
from equireann_pyg.cli import main
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.compiled import state_of, trace
from equireann_pyg.nn import (
    ACEProducts,
    AllReadout,
    CartesianMoments,
    CosineCutoff,
    Coupled,
    DecayingCutoff,
    Density,
    ElementRadial,
    Equivariant,
    Invariant,
    LastReadout,
    Local,
    MessageRule,
    MomentContractions,
    PairRadial,
    PowerSpectrum,
    Shared,
    SphericalHarmonics,
)
from equireann_pyg.ops import by_reference
from equireann_pyg.potential.checkpoint import build, recipe
from equireann_pyg.testing import (
    assert_close,
    assert_potential,
    predict,
    random_cluster,
    random_crystal,
    randomize,
    sample_graphs,
)
from tests.nn.test_descriptor import DESCRIPTORS
from tests.nn.test_message import COUPLED, RULES
from tests.test_models import cumulene

ALL_RULES = {"local": Local([6]), **RULES}
PAIRS = [
    (descriptor, rule)
    for descriptor, (_, angular) in DESCRIPTORS.items()
    for rule in ALL_RULES
    if rule not in COUPLED or isinstance(angular, SphericalHarmonics)
]
EVERY_PAIR = pytest.mark.parametrize(("descriptor", "rule"), PAIRS)


def inputs(data: Data, model: OrbitalNetwork) -> tuple[Tensor, Tensor, Tensor]:
    return data.z, data.edge_index, edge_vectors(data).to(model.coefficient.dtype)


def fresh(descriptor: str, rule: str, /, num_iterations: int = 2, **kwargs: Any) -> OrbitalNetwork:
    """A small untrained network, without statistics."""
    angular = DESCRIPTORS[descriptor][1]
    options = {
        "cutoff": 3.0,
        "descriptor": DESCRIPTORS[descriptor][0],
        "rule": ALL_RULES[rule],
        "readout": AllReadout([6]),
        "radial": PairRadial(4),
    } | kwargs
    count = 0 if rule == "local" else num_iterations
    torch.manual_seed(0)
    return OrbitalNetwork(["H", "C"], angular=angular, num_iterations=count, **options)


def prepared(descriptor: str, rule: str, /, amplitude: float = 0.3, **kwargs: Any) -> Potential:
    """A small potential with random parameters, and statistics."""
    model = fresh(descriptor, rule, **kwargs)
    randomize(model, amplitude=amplitude)
    model.fit_statistics(*inputs(Batch.from_data_list(sample_graphs(model.elements, model.cutoff)), model))
    return Potential(model).eval()


@EVERY_PAIR
def test_battery(descriptor: str, rule: str, double: torch.dtype) -> None:
    """Symmetries, batching, smoothness at the cutoff, forces, stress and gradients of a force loss."""
    assert_potential(prepared(descriptor, rule, amplitude=1.0, num_iterations=1))


@EVERY_PAIR
def test_all_paths_agree(descriptor: str, rule: str, double: torch.dtype) -> None:
    """Kernels, plain torch, blocks of rows; in training also the gradients of a force loss."""
    potential = prepared(descriptor, rule)
    for data in (random_cluster([1, 6], 3.0), random_crystal([1, 6], 3.0, 3)):
        expected = predict(potential, data)
        output = BlockPotential(potential, 1)(data)
        assert_close(output["forces"], expected["forces"], 1e-10, "forces in blocks")
        with by_reference():
            for name, value in predict(potential, data).items():
                assert_close(value, expected[name], 1e-10, name)
    gradients = []
    constants = {"model.readout.network.out.bias", "model.readout.linear.bias"}  # no force knows of them
    parameters = {name: value for name, value in potential.named_parameters() if name not in constants}
    for plain in (False, True):
        with by_reference() if plain else nullcontext():
            loss = potential.train()(data)["forces"].square().sum()
        gradients.append(torch.autograd.grad(loss, list(parameters.values())))
    for name, actual, value in zip(parameters, *gradients, strict=True):
        assert_close(actual, value, 1e-8, f"gradient of {name}", smallest=1e-8)


@EVERY_PAIR
def test_twist_of_a_long_chain(descriptor: str, rule: str, double: torch.dtype) -> None:
    """Whatever the descriptor: the twist of a chain longer than the cutoff is felt through equivariant messages only."""
    model = prepared(descriptor, rule, cutoff=4.0, num_iterations=3).model
    flat, twisted = (model.encode(*inputs(cumulene(9, angle, 4.0), model))[0] for angle in (0.0, 90.0))
    signal = float(((twisted - flat).abs().max() / flat.abs().max()).detach())
    assert signal < 1e-11 if rule in ("local", "invariant") else signal > 1e-6


@pytest.mark.parametrize(
    ("descriptor", "rule"),
    [
        ("density", "filtered"),
        ("power spectrum", "equivariant"),
        ("products", "coupled"),
        ("products", "separate"),
        ("contractions", "invariant"),
    ],
)
def test_traced_graph_in_training(descriptor: str, rule: str, double: torch.dtype) -> None:
    """The graph that the compiler gets: for other numbers of atoms and edges too, with its derivatives."""
    potential = prepared(descriptor, rule).train()
    graph = trace(potential, potential.tensors(random_cluster([1, 6], 3.0)), True, False)
    data = random_crystal([1, 6], 3.0, 3)
    actual, expected = graph(state_of(potential), *potential.tensors(data)), potential(data, stress=False)
    assert_close(actual["forces"], expected["forces"], 1e-10, "forces")
    coefficient = potential.model.coefficient
    slopes = [torch.autograd.grad(output["forces"].square().sum(), coefficient)[0] for output in (actual, expected)]
    assert_close(slopes[0], slopes[1], 1e-9, "gradient of the force loss")


@EVERY_PAIR
def test_stored_and_loaded(descriptor: str, rule: str, tmp_path: Path) -> None:
    potential, data = prepared(descriptor, rule), random_cluster([1, 6], 3.0)
    save_potential(potential, tmp_path / "a.pt")
    loaded = load_potential(tmp_path / "a.pt")
    assert repr(loaded.model) == repr(potential.model)
    assert torch.equal(loaded(data)["energy"], potential(data)["energy"])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("readout", [LastReadout([5]), AllReadout([5, 4])], ids=lambda plan: type(plan).__name__)
def test_recipe(readout: LastReadout, shared: bool) -> None:
    for descriptor, rule in PAIRS:
        plan, angular = DESCRIPTORS[descriptor]
        arguments = (Shared(plan) if shared else plan, ALL_RULES[rule], readout, angular)
        radial = ElementRadial(3, 0.7, DecayingCutoff())
        model = OrbitalNetwork(["C"], 4.0, *arguments, radial=radial, num_iterations=2 * (rule != "local"))
        rebuilt = build(recipe(model))
        assert repr(rebuilt) == repr(model)
        assert recipe(rebuilt) == recipe(model)
        rebuilt.load_state_dict(model.state_dict())


@pytest.mark.parametrize(("kind", "rule"), [(EquiREANN, Equivariant), (REANN, Invariant), (EANN, Local)])
def test_the_named_models_are_three_lines(kind: type[EquiREANN], rule: type[MessageRule]) -> None:
    count = 0 if kind is EANN else 3
    torch.manual_seed(0)
    named = kind(["H", "C"], 3.0, num_radial=4, num_density=8, hidden_channels=[8])
    torch.manual_seed(0)
    plans = Density(8), rule([8]), LastReadout([8]), None, CosineCutoff(), PairRadial(4)
    general = OrbitalNetwork(["H", "C"], 3.0, *plans, count)
    data = random_cluster([1, 6], 3.0)
    for model in (named, general):
        model.fit_statistics(*inputs(data, model))
        randomize(model)
    assert named.state_dict().keys() == general.state_dict().keys()
    assert all(torch.equal(value, general.state_dict()[key]) for key, value in named.state_dict().items())
    energy = named(*inputs(data, named))
    assert torch.equal(energy, general(*inputs(data, general)))
    assert bool(energy.all())


def test_shared_descriptors(double: torch.dtype) -> None:
    data = Batch.from_data_list([random_cluster([1, 6], 3.0, 8, seed=seed) for seed in range(8)])
    counts = []
    for plan in (PowerSpectrum(3), Shared(PowerSpectrum(3))):
        model = OrbitalNetwork(["H", "C"], 3.0, plan, radial=PairRadial(4), num_iterations=2)
        model.fit_statistics(*inputs(data, model))
        counts.append(len(list(model.descriptors.parameters())))
        for t, (_, features) in enumerate(model.iterate(*inputs(data, model))):
            size = features.detach().square().mean()
            assert 0.5 < float(size) < 2.0, f"variance {float(size):.2f} in iteration {t}"
    assert counts == [3, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": Local()}, "Local: nothing travels, so expected num_iterations=0, got 3"),
        ({"rule": Coupled(), "angular": CartesianMoments(2)}, "Coupled needs spherical harmonics"),
        ({"descriptor": MomentContractions()}, "MomentContractions needs Cartesian moments"),
        ({"cutoff": 0.0}, "cutoff: expected a positive length in Angstrom, got 0"),
        ({"num_iterations": -1}, "num_iterations: expected 0 or more, got -1"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OrbitalNetwork(["H"], **arguments)


def sizes(model: OrbitalNetwork, data: Data) -> Iterator[tuple[str, float]]:
    """Mean square of every mixed or limited orbital and product, over all degrees, and of every feature, as they come up."""
    found: list[tuple[str, float]] = []

    def watch(name: str) -> Any:
        return lambda part, given, output: found.append((name, float(output.square().mean())))

    kinds = ("ScaledLinear", "ScaledSelfCoupling", "DegreeLinear", "SoftLimit", "SoftStandardize", "HalfStandardize")
    hooks = [
        part.register_forward_hook(watch(name)) for name, part in model.named_modules() if type(part).__name__ in kinds
    ]

    def multiply(part: ACEProducts, given: tuple[Tensor, Tensor]) -> None:
        part.coupling(part.mix(given[0]), given[1])

    products = [part for part in model.modules() if isinstance(part, ACEProducts)]
    hooks += [part.register_forward_pre_hook(multiply) for part in products]  # whose operator calls no part for it
    with torch.no_grad():
        model(*inputs(data, model))
    for hook in hooks:
        hook.remove()
    return iter(found)


@EVERY_PAIR
def test_unit_variance_at_the_start(descriptor: str, rule: str) -> None:
    """Orbitals, products, features and messages before their coefficient; of the published parts the features only."""
    plans = {"descriptor": DESCRIPTORS[descriptor][0], "rule": ALL_RULES[rule]}
    wide = {name: type(plan)(**plan.config | _channels(plan, 32)) for name, plan in plans.items()}
    model = fresh(descriptor, rule, radial=PairRadial(8), num_iterations=3, **wide)
    data = Batch.from_data_list([random_cluster([1, 6], 3.0, 8, seed=seed) for seed in range(16)])
    model.fit_statistics(*inputs(data, model))
    seen = list(sizes(model, data))
    assert sum(name.startswith("scalings") for name, _ in seen) == len(model.scalings)
    assert any(name.startswith("rules") for name, _ in seen) == (rule in COUPLED)
    assert any(name.startswith("descriptors") for name, _ in seen) == (not descriptor.startswith("density"))
    assert any(name.startswith("descriptors.0.coupling") for name, _ in seen) == (descriptor == "products")
    for name, size in seen:
        assert 0.25 < size < 4.0, f"{name}: mean square {size:.2f}"


def _channels(plan: torch.nn.Module, count: int) -> dict[str, int]:
    """Many channels where there is a choice: their mean is what is compared."""
    return {"num_channels": count} if "num_channels" in plan.config else {}


def test_training_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str) -> None:
    config = yaml.safe_load((Path(__file__).parent / "conf" / "tiny.yaml").read_text())
    arguments = {
        "elements": ["Cu"],
        "cutoff": 3.5,
        "descriptor": {"class_path": "ACEProducts", "init_args": {"num_channels": 4}},
        "rule": {"class_path": "Coupled", "init_args": {"hidden_channels": [8], "num_channels": 4}},
        "readout": {"class_path": "AllReadout", "init_args": {"hidden_channels": [8]}},
        "num_iterations": 1,
    }
    config["model"]["model"] = {"class_path": "OrbitalNetwork", "init_args": arguments}
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "run.yaml", "--data.train", train]) == 0
    model = load_potential("ckpt/best.ckpt").model
    assert isinstance(model.descriptors[1], ACEProducts)
    assert isinstance(model.rules[0], Coupled)
    assert isinstance(model.readout, AllReadout)
    assert bool(model.rules[0].radial_filter.any())  # zero before training


def test_a_number_is_no_plan_of_radial_functions() -> None:
    with pytest.raises(TypeError, match=r"such as PairRadial\(8\), got 8"):
        OrbitalNetwork(["H"], 3.0, radial=8)
