"""Peak memory of one call, in a process of its own.

    python -m experiments.speed.memory EquiREANN kernels cu864 inference

Prints the rise of the resident memory in MB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from experiments.speed.cases import CASES
from experiments.speed.paths import PATHS, STEPS, call_of
from experiments.speed.peers import MODELS
from experiments.speed.timing import peak_memory


def memory_of(model: str, path: str, case: str, step: str) -> float:
    """MB of one call, measured in a fresh process: no path finds memory that another one has left behind."""
    command = [sys.executable, "-m", "experiments.speed.memory", model, path, case, step]
    root = Path(__file__).parents[2]
    return float(subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("path", choices=PATHS)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("step", choices=STEPS)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = MODELS[args.model]().train(args.step == "training")
    call = call_of(args.step, PATHS[args.path](model), CASES[args.case](), model.parameters())
    print(f"{peak_memory(call):.1f}")


if __name__ == "__main__":
    main()
