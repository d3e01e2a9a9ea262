"""Times NequIP's preset of medium size on request; runs in a Python that has nequip, and knows nothing of this package.

    python nequip_worker.py case.npz {inference|training} {cpu|cuda} [compile]

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
    from ase.data import chemical_symbols
    from nequip.model import PresetNequIPGNNModel
    from nequip.utils.global_state import set_global_state


def medium(cutoff: float, elements: list[int], compiled: bool) -> torch.nn.Module:
    """The preset M: four layers, degrees up to two, 128, 64 and 32 features."""
    set_global_state()
    names = [chemical_symbols[number] for number in elements]
    return PresetNequIPGNNModel(
        preset="M",
        seed=0,
        model_dtype="float32",
        compile_mode="compile" if compiled else "eager",
        type_names=names,
        r_max=cutoff,
        avg_num_neighbors=40.0,
        per_type_energy_scales=dict.fromkeys(names, 1.0),
        per_type_energy_shifts=dict.fromkeys(names, 0.0),
    )


def fields(case: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The case in NequIP's form: rows 0 of the edges are centres, shifts belong to rows 1."""
    elements = sorted(case["elements"].tolist())
    batch = torch.from_numpy(case["batch"])
    return {
        "pos": torch.from_numpy(case["pos"]),
        "atom_types": torch.tensor([elements.index(number) for number in case["z"].tolist()]),
        "edge_index": torch.from_numpy(case["edge_index"]).flip(0),
        "edge_cell_shift": torch.from_numpy(case["edge_shift"]),
        "cell": torch.from_numpy(case["cell"]).reshape(-1, 3, 3),
        "batch": batch,
        "num_atoms": torch.bincount(batch),
    }


def step_of(model: torch.nn.Module, data: dict[str, torch.Tensor], training: bool) -> Callable[[], None]:
    """One energy-and-forces call or one training step without its optimiser."""

    def step() -> None:
        output = model(dict(data))
        if training:
            model.zero_grad()
            energy = output["total_energy"] / len(data["batch"])
            (energy.square().mean() + output["forces"].square().mean()).backward()

    return step


def main(file: str, step: str, device: str = "cpu", mode: str = "") -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    with redirect_stdout(sys.stderr):
        case, training = dict(np.load(file)), step == "training"
        data = moved(fields(case), device)
        if mode == "compile" and len(data["num_atoms"]) < 2:
            raise SystemExit("NequIP evaluates single graphs without its compiled mode")
        elements = sorted(case["elements"].tolist())
        model = medium(float(case["cutoff"]), elements, mode == "compile").to(device).train(training)
        if not training:
            model.requires_grad_(False)
        call = step_of(model, data, training)
    answer(call, device)


if __name__ == "__main__":
    main(*sys.argv[1:])
