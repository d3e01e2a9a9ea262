"""The optimiser: singular values, sizes of steps, what is a matrix, states."""

import copy

import pytest
import torch

from equireann_pyg.training.muon import Muon, is_matrix, orthogonalized


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 50), (3, 40, 16)])
def test_singular_values_are_about_one_and_vectors_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64) * torch.logspace(0, -2, shape[-1], dtype=torch.float64)
    made = orthogonalized(matrix)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.3
    assert values.max() < 1.3
    product = made.mT @ matrix  # V S' U^T U S V^T is symmetric and positive
    torch.testing.assert_close(product, product.mT, rtol=1e-8, atol=1e-10 * float(product.abs().max()))
    assert torch.linalg.eigvalsh(product).min() > -1e-10


def test_fewer_steps_leave_the_weakest_weak():
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0] for _ in range(2))
    sizes = torch.logspace(0, -5, 20, dtype=torch.float64)
    values = {n: torch.linalg.svdvals(orthogonalized(left * sizes @ right, steps=n)) for n in (3, 5)}
    weak = sizes < 1e-3
    scale = 3.4445**3 / sizes.norm()
    torch.testing.assert_close(values[3][weak], scale * sizes[weak], rtol=1e-2, atol=0)
    assert (values[3][sizes > 0.05] > 0.5).all()
    assert (values[5][weak] > 8 * values[3][weak]).all()


def test_states_of_before_there_was_a_choice():
    weight = torch.nn.Parameter(torch.eye(8))
    state = Muon([weight]).state_dict()
    for name in ("steps", "largest"):
        del state["param_groups"][0][name]
    optimizer = Muon([weight])
    optimizer.load_state_dict(state)
    weight.grad = torch.ones(8, 8)
    optimizer.step()
    assert optimizer.param_groups[0]["steps"] == 5
    assert optimizer.param_groups[0]["largest"] > 10**6


def test_every_matrix_of_a_stack_is_on_its_own():
    torch.manual_seed(0)
    stack = torch.randn(3, 20, 10) * torch.tensor([1.0, 1e-3, 0.0]).view(3, 1, 1)
    made = orthogonalized(stack)
    torch.testing.assert_close(made[1], orthogonalized(stack[1]), rtol=1e-4, atol=1e-5)
    assert made[0].norm() > 1
    assert made[1].norm() > 1
    assert (made[2] == 0).all()


@pytest.mark.parametrize("size", [1e-14, 1e-19, 1e-23, 1e-30, 1e-38, 1e-43])
def test_next_to_nothing_stays_so(size):
    """Squares of such gradients vanish in float32; they come from elements whose network is saturated."""
    torch.manual_seed(0)
    stack = torch.randn(2, 32, 32) * torch.tensor([1e-3, size]).view(2, 1, 1)
    made = orthogonalized(stack)
    assert made.isfinite().all()
    assert made[0].norm() > 3
    assert made[1].norm() < 1e13 * size
    weight = torch.nn.Parameter(torch.ones(2, 32, 32))
    optimizer = Muon([weight], lr=0.1)
    for _ in range(3):
        weight.grad = stack.clone()
        optimizer.step()
    assert weight.isfinite().all()
    assert (weight[0] - 1).abs().max() > 1e-2
    assert (weight[1] - 1).abs().max() < 0.1


def test_what_is_a_matrix():
    assert is_matrix(torch.empty(2, 8, 9), 8, 256)
    assert is_matrix(torch.empty(8, 256), 8, 256)
    assert not is_matrix(torch.empty(20, 7), 8, 256)
    assert not is_matrix(torch.empty(4, 64, 1), 8, 256)
    assert not is_matrix(torch.empty(64), 8, 256)
    assert not is_matrix(torch.empty(2, 8, 257), 8, 256)
    assert not is_matrix(torch.empty(2, 1664, 32), 8, 256)


def test_entries_of_matrices_change_as_much_as_adam_would_change_them():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(2, 64, 16))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight) * 1e-3
    Muon([weight], lr=0.1, matrices=0.5).step()
    change = (weight.detach() - before).square().mean().sqrt()
    assert change == pytest.approx(0.05, rel=0.2)  # the size does not depend on that of the gradient


def test_what_is_no_matrix_is_trained_as_by_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizers = Muon([ours], lr=0.02, betas=(0.8, 0.95)), torch.optim.Adam([theirs], lr=0.02, betas=(0.8, 0.95))
    for _ in range(20):
        gradient = torch.randn(5)
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    assert (ours - 1).abs().min() > 1e-4


def test_weight_decay_shrinks_matrices_alone():
    matrix, vector = torch.nn.Parameter(torch.ones(8, 8)), torch.nn.Parameter(torch.ones(8))
    for weight in (matrix, vector):
        weight.grad = torch.zeros_like(weight)
    Muon([matrix, vector], lr=0.1, matrices=0.5, weight_decay=0.2).step()
    torch.testing.assert_close(matrix, torch.full((8, 8), 0.99))
    torch.testing.assert_close(vector, torch.ones(8))


def test_it_goes_on_from_its_state():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(8, 12)), torch.nn.Parameter(torch.randn(12))]
    gradients = [[torch.randn_like(weight) for weight in weights] for _ in range(6)]

    def run(parts, optimizer, steps):
        for step in steps:
            for weight, gradient in zip(parts, gradients[step], strict=True):
                weight.grad = gradient.clone()
            optimizer.step()

    whole = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    run(whole, Muon(whole), range(6))
    first = Muon(weights)
    run(weights, first, range(3))
    second = Muon(weights)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(weights, second, range(3, 6))
    for one, other in zip(whole, weights, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_it_is_ahead_of_adam_where_inputs_are_correlated():
    torch.manual_seed(0)
    x = torch.randn(256, 16) @ (torch.eye(16) + 3 * torch.ones(16, 16) / 4)
    y = x @ torch.randn(16, 8)
    losses = []
    for make in (lambda p: Muon(p, lr=0.03, matrices=1.0), lambda p: torch.optim.Adam(p, lr=0.03)):
        weight = torch.nn.Parameter(torch.zeros(16, 8))
        optimizer = make([weight])
        for _ in range(100):
            loss = (x @ weight - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] < 0.5 * losses[1]


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1}, {"matrices": -0.1}, {"weight_decay": -1}, {"betas": (1.0, 0.9)}, {"momentum": 1.5}, {"steps": 0}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Muon: expected"):
        Muon([torch.nn.Parameter(torch.zeros(2))], **wrong)
