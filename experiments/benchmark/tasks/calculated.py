"""Whether a potential that only a calculator computes is used in the right way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch_geometric.data import Data

from equireann_pyg import Potential
from equireann_pyg.testing import checks, sample_graphs
from experiments.benchmark.peers.calculated import Calculated

CHECKS: dict[str, Callable[[Potential, Data], None]] = {
    "rotation, reflection": checks.assert_equivariant,
    "order of atoms and edges": checks.assert_permutation,
    "translation": checks.assert_translation,
    "forces, stress": checks.assert_conservative,
}
"""Of those of :func:`~equireann_pyg.testing.check_model` what asks neither for edges nor for gradients of weights."""


def check_calculated(model: Calculated) -> dict[str, Any]:
    """Findings on a cluster and a crystal, and on two clusters far apart; there is no other calculator to compare with."""
    potential = cast(Potential, model.eval())
    cluster, other, crystal, *_ = sample_graphs(model.elements, model.cutoff)
    problems: dict[str, str] = {}

    def note(name: str, function: Callable[..., None], *graphs: Data) -> None:
        try:
            function(potential, *graphs)
        except Exception as error:  # a package may fail in any way
            problems.setdefault(name, str(error))

    for name, function in CHECKS.items():
        for data in (cluster, crystal):
            note(name, function, data)
    note("parts far apart", checks.assert_additive, cluster, other)
    return {"problems": problems, "checks": len(CHECKS) + 1, "own": None}
