"""PACE, the atomic cluster expansion of pacemaker (python-ace), https://github.com/ICAMS/python-ace.

Its licence, the Academic Software Licence, is no open-source licence: it allows academic, non-commercial use.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from torch import nn

from experiments.benchmark.peers.calculated import Calculated
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


class PACE(Calculated):
    """An expansion with a square root as embedding and random coefficients.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        functions: basis functions of each element.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0, functions: int = 700) -> None:
        super().__init__(elements, cutoff, functions=functions)
        self.functions = functions
        blocks = self.basis().funcspecs_blocks
        number = sum(len(block.get_func_coeffs()) for block in blocks)
        self.coefficients = nn.Parameter(0.05 * torch.randn(number), requires_grad=False)

    def basis(self) -> Any:
        """Pacemaker's own basis of these elements."""
        level = logging.getLogger().level
        from pyace import create_multispecies_basis_config

        logging.getLogger().setLevel(level)  # which the import has changed for the whole process
        return create_multispecies_basis_config(
            {
                "deltaSplineBins": 0.001,
                "elements": self.symbols,
                "embeddings": {"ALL": EMBEDDING},
                "bonds": {"ALL": {**BONDS, "rcut": self.cutoff}},
                "functions": {"number_of_functions_per_element": self.functions, **orders()},
            }
        )

    def calculator(self) -> Calculator:
        """pacemaker's, with the recursive evaluation that MD programs use."""
        from pyace import ACEBBasisSet, PyACECalculator

        basis, start = self.basis(), 0
        for block in basis.funcspecs_blocks:
            number = len(block.get_func_coeffs())
            block.set_func_coeffs(self.coefficients[start : start + number].tolist())
            start += number
        final = ACEBBasisSet(basis).to_ACECTildeBasisSet()
        return PyACECalculator(final, recursive_evaluator=True, recursive=True)


EMBEDDING = {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1, 1, 0.5], "ndensity": 2}
BONDS = {"radbase": "SBessel", "radparameters": [5.25], "dcut": 0.01, "NameOfCutoffFunction": "cos"}


def orders() -> dict[str, dict[str, list[int]]]:
    """Largest indices of the functions by body order, for one, two, three and more elements."""
    table = {
        "UNARY": ([15, 6, 4, 3, 2, 2], [0, 3, 3, 2, 2, 1]),
        "BINARY": ([15, 6, 3, 2, 2, 1], [0, 3, 2, 1, 1, 0]),
        "TERNARY": ([15, 3, 3, 2, 1], [0, 2, 2, 1, 1]),
        "ALL": ([15, 3, 2, 1, 1], [0, 2, 2, 1, 1]),
    }
    return {name: {"nradmax_by_orders": radial, "lmax_by_orders": angular} for name, (radial, angular) in table.items()}


PEERS = (
    Peer(
        "PACE (python-ace)",
        published("experiments.benchmark.peers.pace.PACE", lr=0.0),
        "input template of pacemaker 0.4: 700 functions of each element; Bochkarev et al., PR Mater. 2022, 6, 013804",
        Environment("pacemaker", ("python-ace==0.4.0rc1",)),
        package=("python-ace",),
        trains=False,
        known={"rotation, reflection": "its search of neighbours refuses left-handed cells"},
        remark="C++ in double precision on one thread, with its own search of neighbours; academic licence",
    ),
)
