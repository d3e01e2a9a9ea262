"""Which arithmetic the forces allow: errors of float32 and of bfloat16 products against float64.

    python -m experiments.speed.precision

Prints the root mean square error of the forces relative to their root mean square; a type is used only below 1e-3.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg import EquiREANN, Potential
from experiments.speed.cases import CASES, potential

LIMIT = 1e-3


def forces(reference: Potential, data: Data, dtype: torch.dtype, context: AbstractContextManager[None]) -> Tensor:
    """Forces ``[N, 3]`` by a copy of the potential in another arithmetic."""
    copy = deepcopy(reference)
    copy.model.to(dtype)
    with context:
        return copy.eval()(data, stress=False)["forces"]


def error(values: Tensor, exact: Tensor) -> float:
    """Root mean square error relative to the root mean square."""
    return float((values - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def errors(name: str) -> dict[str, float]:
    """Errors of the forces of one case, for each arithmetic."""
    reference, data = potential(EquiREANN), CASES[name]()
    exact = forces(reference, data, torch.float64, nullcontext())
    return {
        "float32": error(forces(reference, data, torch.float32, nullcontext()), exact),
        "float32, products in bfloat16": error(
            forces(reference, data, torch.float32, torch.autocast("cpu", torch.bfloat16)), exact
        ),
    }


def main(names: tuple[str, ...] = ("train8", "cu108", "cu864")) -> None:
    """Print the table."""
    table = Table("case", "arithmetic", "error of the forces", f"below {LIMIT:g}")
    for name in names:
        for arithmetic, value in errors(name).items():
            table.add_row(name, arithmetic, f"{value:.1e}", "yes" if value < LIMIT else "no")
    Console().print(table)


if __name__ == "__main__":
    main()
