"""Times MACE-medium on request; runs in a Python that has mace-torch, and knows nothing of this package.

    python mace_worker.py case.npz {inference|training} [cpu|cuda] [cueq]

Each line of the standard input is a number of calls; the answer is the seconds of one, see worker_clock.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import numpy as np
import torch
from worker_clock import answer, moved

with redirect_stdout(sys.stderr):  # the standard output is for times only
    from mace import modules  # before e3nn: only then does e3nn 0.4.4 load its constants with a recent torch

    from e3nn import o3  # isort: skip


def medium(cutoff: float, elements: list[int], cueq: bool = False) -> torch.nn.Module:
    """MACE with 128x0e + 128x1o, two interactions, correlation 3; by the kernels of cuEquivariance on a CUDA device."""
    torch.manual_seed(0)
    options = {}
    if cueq:
        import cuequivariance_ops_torch  # noqa: F401  without it there are no kernels
        from mace.modules.wrapper_ops import CuEquivarianceConfig

        options["cueq_config"] = CuEquivarianceConfig(
            enabled=True, layout="ir_mul", group="O3_e3nn", optimize_all=True, conv_fusion=True
        )
    return modules.ScaleShiftMACE(
        r_max=cutoff,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("128x0e + 128x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=40.0,
        atomic_numbers=sorted(elements),
        correlation=3,
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        **options,
    )


def fields(case: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The case in MACE's form; its vectors point from row 0 to row 1 of the edges, so shifts change sign."""
    elements = sorted(case["elements"].tolist())
    species = torch.tensor([elements.index(number) for number in case["z"].tolist()])
    batch = torch.from_numpy(case["batch"])
    counts = torch.bincount(batch)
    return {
        "positions": torch.from_numpy(case["pos"]).float(),
        "node_attrs": torch.nn.functional.one_hot(species, len(elements)).float(),
        "edge_index": torch.from_numpy(case["edge_index"]),
        "shifts": -torch.from_numpy(case["shifts"]).float(),
        "unit_shifts": -torch.from_numpy(case["edge_shift"]).float(),
        "cell": torch.from_numpy(case["cell"]).float().reshape(-1, 3),
        "batch": batch,
        "ptr": torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        "head": torch.zeros(len(counts), dtype=torch.long),
    }


def step_of(model: torch.nn.Module, data: dict[str, torch.Tensor], training: bool) -> Callable[[], None]:
    """One energy-and-forces call or one training step without its optimiser."""

    def step() -> None:
        model.zero_grad()
        output = model(dict(data), training=training, compute_force=True)
        if training:
            energy = output["energy"] / len(data["batch"])
            (energy.square().mean() + output["forces"].square().mean()).backward()

    return step


def main(file: str, step: str, device: str = "cpu", mode: str = "") -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    with redirect_stdout(sys.stderr):
        case, training = dict(np.load(file)), step == "training"
        model = medium(float(case["cutoff"]), case["elements"].tolist(), mode == "cueq").to(device).train(training)
        call = step_of(model, moved(fields(case), device), training)
    answer(call, device)


if __name__ == "__main__":
    main(*sys.argv[1:])
