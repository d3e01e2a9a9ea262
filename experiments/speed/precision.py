"""Which arithmetic the forces allow: errors of float32 and of products of 16 bits against float64.

    python -m experiments.speed.precision                            # with random weights
    python -m experiments.speed.precision best.ckpt test.extxyz      # a trained potential, on the first frames of a file

Prints the root mean square error of the forces relative to their root mean square, and of a trained potential in meV/Angstrom.
A type is used only below 1e-3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy

import torch
from ase.io import read
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANN, EquiREANNPlus, Potential, from_ase, load_potential
from experiments.speed.cases import CASES, potential

LIMIT = 1e-3
FRAMES = 20
MODELS = {"EquiREANN": EquiREANN, "EquiREANN-plus": EquiREANNPlus}
ARITHMETIC = {  # type of the weights, and of the products where it is another
    "float32": (torch.float32, None),
    "float32, products in float16": (torch.float32, torch.float16),
    "float32, products in bfloat16": (torch.float32, torch.bfloat16),
}


def forces(reference: Potential, data: Data, dtype: torch.dtype, context: AbstractContextManager[None]) -> Tensor:
    """Forces ``[N, 3]`` by a copy of the potential in another arithmetic."""
    copy = deepcopy(reference)
    copy.model.to(dtype)
    with context:
        return copy.eval()(data, stress=False)["forces"]


def error(values: Tensor, exact: Tensor) -> float:
    """Root mean square error relative to the root mean square."""
    return float((values - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def errors_of(reference: Potential, data: Data) -> dict[str, float]:
    """Errors of the forces of a graph or batch, for each arithmetic; beside them their size in eV/Angstrom."""
    exact = forces(reference, data, torch.float64, nullcontext())
    found = {"size": float(exact.square().mean().sqrt())}
    for name, (dtype, products) in ARITHMETIC.items():
        context = nullcontext() if products is None else torch.autocast("cpu", products)
        found[name] = error(forces(reference, data, dtype, context), exact)
    return found


def errors(name: str, model: str = "EquiREANN") -> dict[str, float]:
    """Errors of the forces of one case with random weights."""
    return errors_of(potential(MODELS[model]), CASES[name]())


def rows(words: list[str], names: tuple[str, ...]) -> Iterator[tuple[str, float | None, dict[str, float]]]:
    """Name, size of the forces in eV/Angstrom where it means anything, and errors of whatever is asked for."""
    if words:
        trained = load_potential(words[0])
        graphs = [from_ase(atoms, trained.cutoff, labels=()) for atoms in read(words[1], f":{FRAMES}")]
        found = errors_of(trained, Batch.from_data_list(graphs))
        yield words[1], found["size"], found
        return
    for model in MODELS:
        for name in names:
            yield f"{model}, {name}", None, errors(name, model)


def main(words: list[str] | None = None, names: tuple[str, ...] = ("train8", "cu108", "cu864")) -> None:
    """Print the table."""
    table = Table("case", "arithmetic", "error of the forces", "meV/Angstrom", f"below {LIMIT:g}")
    for case, size, found in rows(words or [], names):
        for arithmetic in ARITHMETIC:
            value = found[arithmetic]
            absolute = "" if size is None else f"{1e3 * size * value:.3g}"
            table.add_row(case, arithmetic, f"{value:.1e}", absolute, "yes" if value < LIMIT else "no")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
