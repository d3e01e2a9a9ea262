"""Ahead-of-time compiled potentials: one file for molecular dynamics that holds machine code and weights.

The file runs on machines like the one it was made on, and only in torch versions that can read it. As it holds code, load
only files of people you trust.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim
from torch_geometric.data import Data

from equireann_pyg.elements import check_known
from equireann_pyg.files import replacing
from equireann_pyg.graph.edges import check_cutoff
from equireann_pyg.graph.known import known
from equireann_pyg.inference.compiled import State, state_of, trace
from equireann_pyg.ops import exchange, load_kernels  # noqa: F401  exchange: files for LAMMPS have that operator
from equireann_pyg.potential.derivatives import has_volume
from equireann_pyg.potential.potential import Potential
from equireann_pyg.potential.record import present
from equireann_pyg.wording import one_line

FORMAT = "equireann_pyg.exported_potential"
VERSION = 2

Tensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def export_potential(potential: Potential, path: str | Path) -> Path:
    """Compile a potential ahead of time and write the package, whole or not at all.

    Energy, forces and stress of one structure at a time, of any number of atoms and edges; properties are left out.

    Args:
        potential: potential; it is evaluated in evaluation mode whatever mode it is in.
        path: file to write, by convention ``*.pt2``.

    Returns:
        the file.

    Raises:
        ValueError: if ``path`` does not end in ``.pt2``.
        OSError: if the file cannot be written, or there is no compiler.
    """
    check_path(path)
    program, description = _exported(potential), described(potential) | {"format": FORMAT, "version": VERSION}
    return write_package(program, path, description)


def described(potential: Potential) -> dict[str, Any]:
    """What the file of an exported potential says of it."""
    refused = set() if potential.allow_untrained else set(potential.untrained_elements())
    return {
        "cutoff": potential.cutoff,
        "elements": sorted(set(potential.elements) - refused),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "device": potential.scale.device.type,
    }


def check_path(path: str | Path) -> Path:
    """Where an exported potential is to be written.

    Raises:
        ValueError: if ``path`` does not end in ``.pt2``.
        FileNotFoundError: if there is no such folder.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"{path}: the file name of an exported potential must end in .pt2")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder: make it first")
    return path


def write_package(program: torch.export.ExportedProgram, path: str | Path, description: dict[str, Any]) -> Path:
    """Compile a program ahead of time and write the package, whole or not at all.

    Args:
        program: what is compiled.
        path: file to write, by convention ``*.pt2``.
        description: plain values that the file says of itself.

    Returns:
        the file.

    Raises:
        ValueError: if ``path`` does not end in ``.pt2``.
        OSError: if the file cannot be written, or there is no compiler.
    """
    path = check_path(path)
    plain = {key: " ".join(map(str, x)) if isinstance(x, list) else str(x) for key, x in description.items()}  # for C++
    settings = {"aot_inductor.metadata": {"potential": json.dumps(description), **plain}}
    try:
        with replacing(path, ".pt2") as partial:
            torch._inductor.aoti_compile_and_package(program, package_path=str(partial), inductor_configs=settings)
    except (torch._inductor.exc.InductorError, torch._dynamo.exc.BackendCompilerFailed) as error:
        raise OSError(f"{path}: not compiled ({one_line(error, 300)})") from error
    return path


def _exported(potential: Potential) -> torch.export.ExportedProgram:
    training = potential.training
    potential.eval()
    try:
        example = _example(potential)
        bare = without_properties(potential)
        module = WithState(trace(bare, example, forces=True, stress=True), state_of(bare))
    finally:
        potential.train(training)
    atoms, edges = Dim("atoms", min=1), Dim("edges", min=0)
    shapes = {0: atoms}, {0: atoms}, None, {1: edges}, {0: edges}
    with torch.no_grad():
        return torch.export.export(module, example, dynamic_shapes=(shapes,))


def without_properties(potential: Potential) -> Potential:
    """The potential for energies alone, in evaluation mode; it shares the model."""
    bare = Potential(potential.model, repulsion=potential.repulsion).eval()
    for name in potential.exact:
        setattr(bare, name, getattr(potential, name))
    return bare


def _example(potential: Potential) -> Tensors:
    """Three atoms in a cell, and four edges: only sizes and types matter."""
    device, kind = potential.scale.device, torch.float64
    z = torch.tensor(potential.elements[:1] * 3, device=device)
    pos = torch.eye(3, dtype=kind, device=device)
    cell = 9.0 * torch.eye(3, dtype=kind, device=device).unsqueeze(0)
    edge_index = torch.tensor([[1, 0, 2, 0], [0, 1, 0, 2]], device=device)
    return z, pos, cell, edge_index, torch.zeros(4, 3, dtype=kind, device=device)


class WithState(torch.nn.Module):
    """A traced graph that owns the weights it is called with.

    Args:
        graph: ``graph(state, *tensors)``.
        state: weights and buffers.
    """

    def __init__(self, graph: torch.fx.GraphModule, state: State) -> None:
        super().__init__()
        self.traced = graph  # not `graph`, a name that export's own modules have
        self.names = {name: name.replace(".", "__") for name in state}
        for name, value in state.items():
            self.register_buffer(self.names[name], value.clone())

    def forward(self, *tensors: Tensor) -> Any:
        """What the graph gives."""
        state = {name: getattr(self, stored) for name, stored in self.names.items()}
        return self.traced(state, *tensors)


class ExportedPotential:
    """An exported potential, for inference; called like a :class:`~equireann_pyg.Potential`, with one graph at a time.

    It never changes, so a copy of it is itself. Pickled it is the absolute path of its file, which is loaded again by who
    unpickles it: code never travels in a pickle.

    Attributes:
        cutoff: in Angstrom.
        elements: atomic numbers it knows.
        dtype: floating-point type of its arithmetic.
        device: where it computes.
    """

    training = False

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        self._path, self._digest = path.absolute(), _digest(path)
        load_kernels()
        try:
            self._run = torch._inductor.aoti_load_package(str(path))
            described = json.loads(self._run.get_metadata()["potential"])
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            reason = one_line(error, 300)
            raise ValueError(
                f"{path}: no exported potential of this kind of machine, torch and version; export it again from its "
                f"checkpoint ({reason})"
            ) from error
        if "lammps" in described.get("format", ""):
            raise ValueError(f"{path}: exported for LAMMPS; name the checkpoint, or export it without --lammps")
        if described.get("format") != FORMAT or described.get("version") != VERSION:
            raise ValueError(f"{path}: another format than {FORMAT} {VERSION}: export the potential again")
        self.cutoff: float = described["cutoff"]
        self.elements: list[int] = described["elements"]
        self.dtype: torch.dtype = getattr(torch, described["dtype"])
        self.device = torch.device(described["device"])

    def __copy__(self) -> ExportedPotential:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ExportedPotential:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the name of its file."""
        return _load_again, (str(self._path), self._digest)

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, forces, and stress where the cell has a volume; see :meth:`equireann_pyg.Potential.forward`.

        Raises:
            ValueError: as for the potential; also for a batch of several graphs.
        """
        if data.cell.size(0) != 1:
            raise ValueError(f"an exported potential takes one graph at a time, got a batch of {data.cell.size(0)}")
        check_cutoff(data, self.cutoff)
        check_known(known(present, data.z), self.elements)
        output = self._run(data.z, data.pos, data.cell, data.edge_index, data.edge_shift)
        if not has_volume(data, stress):
            del output["stress"]
        if not forces:
            del output["forces"]
        return dict(output)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _load_again(path: str, digest: str) -> ExportedPotential:
    """The potential that was pickled.

    Raises:
        FileNotFoundError: if its file is gone.
        ValueError: if the file holds another potential by now.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file: a pickled .pt2 potential needs its file where it was loaded from"
        )
    if _digest(Path(path)) != digest:
        raise ValueError(f"{path}: changed since the potential was pickled: load the file anew")
    return ExportedPotential(path)


def load_exported(path: str | Path) -> ExportedPotential:
    """Exported potential of a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is of another kind, or was made for another kind of machine.
    """
    return ExportedPotential(path)
