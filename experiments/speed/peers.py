"""The other models: PyG's SchNet and the original REANN in this process, MACE in a Python of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from equireann_pyg import REANN, EquiREANN, Potential, edge_vectors
from equireann_pyg.elements import atomic_numbers
from experiments.plugging.schnet import SchNetEnergies
from experiments.speed.cases import CUTOFF, ELEMENTS, potential


def schnet() -> Potential:
    """SchNet of PyG with its own default sizes, in our potential: energy and forces come about as for our models."""
    torch.manual_seed(0)
    return Potential(SchNetEnergies(ELEMENTS, CUTOFF, hidden_channels=128, num_interactions=6, num_gaussians=50))


MODELS: dict[str, Callable[[], Potential]] = {
    "EquiREANN": partial(potential, EquiREANN),
    "REANN": partial(potential, REANN),
    "SchNet": schnet,
}


class OriginalREANN(torch.nn.Module):
    """Density and networks of the published REANN code, with the sizes of its CO2 + Ni(100) example.

    Args:
        checkout: folder with a clone of https://github.com/zhangylch/REANN; needs opt_einsum.

    Raises:
        FileNotFoundError: if the folder holds no such clone.
    """

    species: Tensor

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        folder = checkout / "reann" / "src"
        if not (folder / "density.py").is_file():
            raise FileNotFoundError(f"{checkout}: expected a clone of REANN with reann/src/density.py")
        sys.path.insert(0, str(folder))
        try:
            density, networks, activate = (importlib.import_module(name) for name in ("density", "MODEL", "activate"))
        finally:
            sys.path.remove(str(folder))
        torch.manual_seed(0)
        waves, degrees = 8, 3
        norbit = waves * (waves + 1) // 2 * degrees

        def network(outputs: int) -> torch.nn.Module:
            dropout = np.zeros(2)
            net: torch.nn.Module = networks.NNMod(
                len(ELEMENTS), outputs, ELEMENTS, 1, [norbit, 64, 64], dropout, activate.Relu_like
            )
            return net

        centre = torch.linspace(0, CUTOFF, waves).repeat(len(ELEMENTS), 1)
        exponent = torch.ones(len(ELEMENTS), waves)
        messages = [network(waves) for _ in range(3)]
        self.density = density.GetDensity(centre, exponent, CUTOFF, 150, degrees, norbit, messages)
        self.readout = network(1)
        table = torch.full((119,), -1)
        table[atomic_numbers(ELEMENTS)] = torch.arange(len(ELEMENTS))
        self.register_buffer("species", table)

    def forward(self, data: Data, stress: bool = False) -> dict[str, Tensor]:
        """Energy and forces; the whole batch is one system without contacts between its graphs."""
        pos = data.pos.float().requires_grad_()
        batch = data.z.new_zeros(data.z.numel()) if data.batch is None else data.batch
        j, i = data.edge_index
        shift = (edge_vectors(data) - data.pos[j] + data.pos[i]).float()  # -> [E, 3]
        counts, pairs = data.z.new_tensor([data.z.numel()]), torch.stack([i, j]).unsqueeze(1)
        species = self.species[data.z]
        density = self.density(pos.unsqueeze(0), counts, species, pairs, -shift.unsqueeze(0))
        energy = scatter(self.readout(density, species).squeeze(-1), batch, dim_size=data.cell.size(0))
        (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=self.training)
        return {"energy": energy, "forces": -gradient}


class Worker:
    """Another package's model in a process of its own, ready to take its turn; a context manager.

    Args:
        python: interpreter with that package.
        data: graph or batch.
        step: ``"inference"`` or ``"training"``.
        script: file of the folder ``workers`` that the process runs.
        options: further words for it.
        environment: its environment; default: ours.

    Raises:
        RuntimeError: with the worker's last words, if it dies.
    """

    def __init__(
        self,
        python: Path,
        data: Data,
        step: str,
        script: str,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = "MACE" if "mace" in script else script.partition("_")[0]
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "case.npz"
        batch = torch.zeros_like(data.z) if data.batch is None else data.batch
        graph_of_edge = batch[data.edge_index[1]]
        shifts = torch.einsum("ea,eab->eb", data.edge_shift, data.cell[graph_of_edge])
        fields = {name: data[name] for name in ("z", "pos", "edge_index", "edge_shift", "cell")}
        np.savez(file, **fields, batch=batch, shifts=shifts, cutoff=CUTOFF, elements=atomic_numbers(ELEMENTS))
        worker = Path(__file__).with_name("workers") / script  # apart: its folder is the first to be imported from
        self._errors = open(Path(self._folder.name) / "errors", "w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [str(python), str(worker), str(file), step, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]  # the worker then ends
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()
        self._folder.cleanup()

    def ask(self, number: int) -> tuple[float, ...]:
        """What the worker says about that many calls: seconds of one."""
        with suppress(BrokenPipeError):  # a dead worker gives no answer either
            self._process.stdin.write(f"{number}\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        answer = self._process.stdout.readline()  # type: ignore[union-attr]
        if not answer:
            self._errors.seek(0)
            words = self._errors.read()[-500:].strip()
            raise RuntimeError(f"the {self._name} worker ended: {(words.splitlines() or ['silently'])[-1]}\n{words}")
        return tuple(map(float, answer.split()))


class Mace(Worker):
    """MACE-medium: a :class:`Worker` that answers with CPU seconds, see :data:`~experiments.speed.timing.Stopwatch`."""

    def __init__(self, python: Path, data: Data, step: str) -> None:
        super().__init__(python, data, step, "mace_worker.py")

    def __call__(self, number: int) -> float:
        """CPU seconds of one call."""
        return self.ask(number)[0]
