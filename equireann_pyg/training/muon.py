"""An optimiser for models made of linear maps: momentum with equal singular values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.training.stacks import stacks_for, unit_for

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of one step of :func:`orthogonalized`: singular values from 0 to 1 come close to one in five steps."""


class Muon(torch.optim.Optimizer):
    r"""Muon for matrices and stacks of matrices, Adam for everything else.

    .. math::
        M &\leftarrow \mu M + (1 - \mu) G \\
        W &\leftarrow W - \eta\, \gamma \sqrt{\max(a, b)}\; \mathrm{orth}[\mu M + (1 - \mu) G]

    where orth makes the singular values of an a x b matrix about one (:func:`orthogonalized`) and the root gives its entries
    the size of Adam's steps. Features of an atomic environment are strongly correlated: a few combinations of them have large
    gradients and hide the many that tell structures apart. Equal singular values let all of them learn at once.

    All but the weakest: along what hardly varies in the training set gradients are noise, and equal steps along it would add
    up, in a long training, to weights that are harmless there and run away in structures unlike it. So the iteration has
    three steps in place of the usual five, which leaves singular values below a fiftieth of the norm small in proportion;
    and maps of a thousand features, most combinations of which hardly vary, are left to Adam.

    A parameter is taken for a (stack of) matrices if it has two dimensions or more and the last two are from ``smallest``
    to ``largest``: the linear maps of channels. The optimiser of torch takes two-dimensional parameters only, and needs
    a second optimiser for the rest.

    Sources: K. Jordan et al., Muon (2024); size of the steps: Liu et al., arXiv:2502.16982; Adam: Kingma, Ba, ICLR 2015.

    Args:
        params: parameters or groups of them.
        lr: learning rate :math:`\eta`.
        matrices: factor :math:`\gamma` of the learning rate for matrices.
        betas: decay of the averages of Adam.
        momentum: decay :math:`\mu` of the momentum of matrices.
        weight_decay: decoupled weight decay of matrices; what is no matrix never decays.
        eps: of Adam, and smallest norm of a gradient that counts.
        smallest: smallest side of a matrix.
        largest: largest side of a matrix.
        steps: how often the iteration of orth is repeated; each lifts small singular values 3.4 times.

    Raises:
        ValueError: for a negative learning rate, factor or weight decay, a decay outside of [0, 1), or no steps.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        matrices: float = 0.3,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        smallest: int = 8,
        largest: int = 256,
        steps: int = 3,
    ) -> None:
        for name, value in (("lr", lr), ("matrices", matrices), ("weight_decay", weight_decay)):
            if value < 0:
                raise ValueError(f"Muon: expected {name} of zero or more, got {value}")
        for decay in (*betas, momentum):
            if not 0 <= decay < 1:
                raise ValueError(f"Muon: expected betas and momentum from 0 to below 1, got {betas} and {momentum}")
        if steps < 1:
            raise ValueError(f"Muon: expected steps of 1 or more, got {steps}")
        defaults = {"lr": lr, "matrices": matrices, "betas": tuple(betas), "momentum": momentum}
        defaults |= {"weight_decay": weight_decay, "eps": eps, "smallest": smallest, "largest": largest, "steps": steps}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("largest", sys.maxsize)  # of states stored before there was a choice
            group.setdefault("steps", 5)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step with the gradients of the parameters, which ``closure`` computes if it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            present = [weight for weight in group["params"] if weight.grad is not None]
            matrices: list[Tensor] = []
            others: list[Tensor] = []
            for weight in present:
                matrix = is_matrix(weight, group["smallest"], group["largest"])
                (matrices if matrix else others).append(weight)
            for alike in _by_kind(matrices):
                _muon(alike, [self.state[weight] for weight in alike], group)
            if others:
                _adam(others, [self.state[weight] for weight in others], group)
        return loss


def is_matrix(weight: Tensor, smallest: int, largest: int) -> bool:
    """Whether a parameter is a matrix or a stack of matrices with sides from ``smallest`` to ``largest``."""
    return weight.dim() > 1 and min(weight.shape[-2:]) >= smallest and max(weight.shape[-2:]) <= largest


def _by_kind(weights: list[Tensor]) -> Iterable[list[Tensor]]:
    """Those on one device and of one type together, as stacks need them."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for weight in weights:
        kinds.setdefault((weight.device, weight.dtype), []).append(weight)
    return kinds.values()


def _muon(weights: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """All at once, in stacks: most are so small that starting an operation takes longer than the operation."""
    for weight, state in zip(weights, states, strict=True):
        if not state:
            state["momentum"] = torch.zeros_like(weight)
    gradients, means = _gradients(weights), [state["momentum"] for state in states]
    torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
    device, rate = weights[0].device, group["lr"] * group["matrices"]
    stacks = stacks_for(tuple(weight.shape for weight in weights), device, unit_for(device))
    filled = stacks.filled(torch._foreach_lerp(gradients, means, group["momentum"]))
    directions = stacks.emptied([orthogonalized(stack, group["eps"], group["steps"]) for stack in filled])
    torch._foreach_mul_(directions, [max(weight.shape[-2:]) ** 0.5 for weight in weights])
    torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
    torch._foreach_add_(weights, directions, alpha=-rate)


def _adam(weights: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """All at once: there are many, and most are small."""
    for weight, state in zip(weights, states, strict=True):
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float64)
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
    gradients, (first, second) = _gradients(weights), group["betas"]
    steps, means, squares = ([state[name] for state in states] for name in ("step", "mean", "square"))
    torch._foreach_lerp_(means, gradients, 1 - first)
    torch._foreach_mul_(squares, second)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
    sizes = torch._foreach_div(squares, [1 - second ** float(step) for step in steps])
    torch._foreach_sqrt_(sizes)
    torch._foreach_add_(sizes, group["eps"])
    torch._foreach_addcdiv_(weights, means, sizes, [-group["lr"] / (1 - first ** float(step)) for step in steps])


def _gradients(weights: list[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def orthogonalized(matrix: Tensor, eps: float = 1e-8, steps: int = 5) -> Tensor:
    r"""A matrix with the same singular vectors whose singular values are about one, by Newton-Schulz iteration.

    .. math:: X \leftarrow a X + (b X X^T + c X X^T X X^T) X

    After five steps they lie between 0.7 and 1.2, but for those below a thousandth of the norm; after three, but for those
    below a fiftieth, which are 41 times as large as they were in units of the norm. All steps are polynomials
    of :math:`G = X X^T`, so they are taken with this smaller matrix, :math:`G \leftarrow p(G)\, G\, p(G)`, and their product
    is multiplied by X once.

    Args:
        matrix: ``[..., a, b]``.
        eps: norm below which a matrix is next to nothing, as in Adam: its singular values fade with its size.
        steps: number of steps.

    Returns:
        ``[..., a, b]``; zero where the matrix is zero.
    """
    tall = matrix.size(-2) > matrix.size(-1)
    x = (matrix.mT if tall else matrix).reshape(-1, *sorted(matrix.shape[-2:]))  # -> [B, d, D]
    # Of 1e-23, as a saturated network may have, the squares and the norm are zero in float32.
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + eps)
    gram = x.bmm(x.mT)  # -> [B, d, d]
    step = product = _polynomial(gram)
    for _ in range(steps - 1):
        gram = step.bmm(gram).bmm(step)
        step = _polynomial(gram)
        product = step.bmm(product)
    x = product.bmm(x)
    return (x.mT if tall else x).reshape(matrix.shape)


def _polynomial(gram: Tensor) -> Tensor:
    """What one step multiplies by: a + b G + c G^2."""
    a, b, c = QUINTIC
    made = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    made.diagonal(dim1=-2, dim2=-1).add_(a)
    return made
