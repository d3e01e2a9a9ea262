"""ASE calculator of any potential."""

from __future__ import annotations

import warnings
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from torch_geometric.data import Data

from equireann_pyg.elements import SYMBOLS, check_known
from equireann_pyg.graph.conditions import conditions_of, in_field
from equireann_pyg.graph.convert import ase_results, from_ase, voigt
from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.graph.known import to_device
from equireann_pyg.graph.labels import CONDITIONS
from equireann_pyg.graph.radius import COINCIDENT
from equireann_pyg.graph.transfer import fetched, sent
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.exported import ExportedPotential, load_exported
from equireann_pyg.inference.graphed import GraphedPotential
from equireann_pyg.potential.checkpoint import load_potential
from equireann_pyg.potential.devices import refuse_tf32, type_of, usable_device
from equireann_pyg.potential.local_stress import atomic_stress
from equireann_pyg.potential.potential import Potential


class EquiREANNCalculator(Calculator):
    """Energy, forces and stress for molecular dynamics, relaxation and phonons in ASE.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3 (stress positive under tension, Voigt order); there is a stress where
    the cell has a volume. Candidate pairs are found with a skin and kept until an atom has moved by half of it; the model
    gets those that are within its cutoff, so the skin never changes a result.

    A potential that is no exported one, in blocks or graphed gives ``stresses`` too, see
    :func:`~equireann_pyg.potential.atomic_stress`.

    A potential with properties gives ``dipole``, ``charges`` and ``polarizability`` too, where they are defined; the total
    charge in e and the field in V/Angstrom are then taken from ``atoms.info["charge"]`` and ``atoms.info["external_field"]``,
    or another of the names that files are read by. Of a field that no property depends on there is a warning.

    Args:
        potential: a potential, which is copied, or the file of one: of ``save_potential``, a training checkpoint, or a
            ``*.pt2`` file written by ``equireann export``, which keeps the device and dtype it was exported for.
        device: where to compute.
        dtype: arithmetic of the model, ``torch.float64`` or ``"float64"``; by default that of the potential.
        skin: extra cutoff of the neighbour list in Angstrom.
        block_size: atoms at a time (see :class:`~equireann_pyg.inference.blocks.BlockPotential`); all at once by default.
        allow_untrained: compute structures with elements that the training set had no atom of, too.
        graphed: replay recorded evaluations, on a CUDA device and for up to 100,000 atoms (see
            :class:`~equireann_pyg.inference.graphed.GraphedPotential`).
        kwargs: arguments of ASE's ``Calculator``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, a negative skin, ``graphed`` without a CUDA device or in blocks, float32 on a GPU where TF32
            is on or, when a structure is computed, for elements the potential does not know, atoms that coincide, numbers that
            are not finite (naming the atoms), and for whatever :func:`~equireann_pyg.from_ase` refuses; there are no results
            then.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        potential: Potential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        skin: float = 0.5,
        block_size: int | None = None,
        allow_untrained: bool = False,
        graphed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= skin < float("inf"):
            raise ValueError(f"skin: expected 0 or more Angstrom, got {skin}")
        self.device = usable_device(device)
        if graphed and block_size is not None:
            raise ValueError("graphed: a recorded evaluation has all atoms at once; leave out block_size, or graphed")
        ready = _ready(potential, self.device, type_of(dtype), block_size)
        refuse_tf32(self.device, ready.dtype)
        self.potential = _graphed(ready) if graphed else ready
        whole: Any = getattr(self.potential, "potential", self.potential)  # of one in blocks
        whole.allow_untrained = allow_untrained
        self._settings = {
            "potential": str(Path(potential).resolve()) if isinstance(potential, (str, Path)) else None,
            "device": str(self.device),
            "dtype": str(self.potential.dtype).removeprefix("torch."),
            "skin": float(skin),
            "block_size": block_size,
            "allow_untrained": allow_untrained,
            "graphed": graphed,
        }
        if isinstance(self.potential, Potential):
            self.implemented_properties = [*self.implemented_properties, "stresses"]
        self.has_properties = bool(getattr(whole, "properties", ()))
        self.feels_field = any(part.uses_field for part in getattr(whole, "properties", ()))
        self._warned = False
        if self.has_properties:
            self.implemented_properties = list(dict.fromkeys([*self.implemented_properties, *whole.scales()]))
        self.broken = broken_weights(self.potential)
        self.skin = skin
        self._built: tuple[Atoms, Data] | None = None  # structure and graph of the last neighbour search

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential (called by ASE)."""
        self.results = {}
        super().calculate(atoms, properties, system_changes)
        self._say_what_is_not_felt()
        graph, closest = self._graph(self.atoms)  # type: ignore[arg-type]
        if self.broken:
            raise ValueError(self.broken)
        output = fetched(self.potential(graph) | {"closest": closest})
        if float(output.pop("closest")) < COINCIDENT:  # also where no neighbour search was due
            raise ValueError(coincidence(graph))
        check_finite(output, graph.z, self.potential)
        results, other = ase_results({key: value for key, value in output.items() if not bool(value.isnan().all())})
        self.results = results | other
        self.results |= {"free_energy": results["energy"], "energies": output["atomic_energy"].numpy()}
        if "stresses" in (properties or ()) and isinstance(self.potential, Potential):
            self.results["stresses"] = voigt(atomic_stress(self.potential, graph).cpu().numpy())  # -> [N, 6]

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Arguments that make this calculator anew, as plain values; ``potential`` is a file, or None if none was named."""
        return dict(self._settings)

    def _graph(self, atoms: Atoms) -> tuple[Data, torch.Tensor]:
        """Graph of the structure, from the kept pairs where they are still complete, and the smallest distance."""
        if self._built is None or self._outdated(atoms, self._built[0]):
            check_known(atoms.numbers, self.potential.elements)
            check_structure(atoms)
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self._built = bare, from_ase(bare, self.potential.cutoff + self.skin, device=self.device)
        graph = copy(self._built[1])
        graph.pos = sent(atoms.positions, self.device)
        r = edge_vectors(graph).norm(dim=-1)
        closest = torch.cat([r, r.new_full((1,), torch.inf)]).min()
        inside = (r < self.potential.cutoff).nonzero().squeeze(1)  # other models need not vanish beyond it
        graph.edge_index, graph.edge_shift = graph.edge_index[:, inside], graph.edge_shift[inside]
        for name, value in (conditions_of(atoms) if self.has_properties else {}).items():
            graph[name] = torch.from_numpy(value)
        return to_device(graph, self.device), closest

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, total charge and field included (called by ASE)."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.has_properties and self.atoms is not None:
            try:
                before, now = conditions_of(self.atoms), conditions_of(atoms)
            except ValueError:  # the calculation that follows says what is wrong
                return [*changes, *CONDITIONS]
            changes += [name for name, value in now.items() if not np.array_equal(before[name], value)]
        return changes

    def _say_what_is_not_felt(self) -> None:
        """Warn, once, of a field that the potential does not depend on."""
        if not (self.feels_field or self._warned) and in_field(self.atoms):  # type: ignore[arg-type]
            warnings.warn(
                "the structure is in a field that this potential does not depend on: energy and forces are those without it",
                stacklevel=4,
            )
            self._warned = True

    def _outdated(self, atoms: Atoms, built: Atoms) -> bool:
        pairs = ((getattr(atoms, name), getattr(built, name)) for name in ("numbers", "pbc"))
        if not all(np.array_equal(new, old) for new, old in pairs) or (atoms.cell.array != built.cell.array).any():
            return True
        moved = np.linalg.norm(atoms.positions - built.positions, axis=1)
        return not bool((moved <= 0.5 * self.skin).all())  # also where a position is not a number


def _ready(
    potential: Potential | str | Path, device: torch.device, dtype: torch.dtype | None, block_size: int | None
) -> Potential | BlockPotential | ExportedPotential:
    """The potential, on its device and for inference only."""
    if not isinstance(potential, Potential) and Path(potential).suffix == ".pt2":
        exported = load_exported(potential)
        if exported.device.type != device.type or dtype not in (None, exported.dtype) or block_size is not None:
            raise ValueError(
                f"{potential} was exported for {exported.device}, {exported.dtype}, all atoms at once: for anything else use "
                "the checkpoint, or export it anew"
            )
        return exported
    potential = deepcopy(potential) if isinstance(potential, Potential) else load_potential(potential)
    potential.model.to(dtype=dtype)
    potential.properties.to(dtype=dtype)
    potential = potential.to(device).eval().requires_grad_(False)
    return potential if block_size is None else BlockPotential(potential, block_size)


def _graphed(potential: Potential | BlockPotential | ExportedPotential) -> GraphedPotential:
    if not isinstance(potential, Potential):
        raise ValueError("graphed: expected a potential or its checkpoint, got an exported one; name the checkpoint")
    return GraphedPotential(potential)


def check_structure(atoms: Atoms) -> None:
    """Refuse a structure with numbers that are not finite.

    Raises:
        ValueError: naming the atoms, or the cell.
    """
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1)).tolist()
    if bad:
        many = "atoms" if len(bad) > 1 else "atom"
        listed, symbols = (_listed([str(word) for word in words]) for words in (bad, atoms.symbols[bad]))
        raise ValueError(f"positions of {many} {listed} are not finite ({symbols}): repair the structure")
    if not np.isfinite(atoms.cell.array).all():
        raise ValueError(f"the cell is not finite ({atoms.cell.array.tolist()}): repair the structure")


def check_finite(output: dict[str, torch.Tensor], z: torch.Tensor, potential: object) -> None:
    """Refuse results that are not finite; a property that is not defined for the structure, all NaN, is none.

    Args:
        output: results of one graph.
        z: its atomic numbers.
        potential: what gave them, to look for the cause.

    Raises:
        ValueError: naming the weights that are not finite, or else the results and atoms.
    """
    always = {"energy", "atomic_energy", "forces", "stress"}
    wrong = [
        name
        for name, value in output.items()
        if not bool(value.isfinite().all()) and (name in always or not bool(value.isnan().all()))
    ]
    if not wrong:
        return
    if broken := broken_weights(potential):
        raise ValueError(broken)
    per_atom = torch.cat(
        [output[name].reshape(len(z), -1) for name in ("atomic_energy", "forces") if name in output], 1
    )
    bad = (~per_atom.isfinite().all(1)).nonzero().flatten().tolist()
    where = f" at {named(bad, z)}" if bad else ""
    raise ValueError(
        f"{', '.join(wrong)} not finite{where}: atoms are too close, or the structure is far from the training set"
    )


def broken_weights(potential: object) -> str:
    """What is wrong with the weights of a potential where they are not finite; else nothing."""
    whole = getattr(potential, "potential", potential)
    state = whole.state_dict() if isinstance(whole, Potential) else {}  # an exported one keeps its weights to itself
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if not broken:
        return ""
    return f"the potential's {_listed(broken)} are not finite: its training has diverged; use another checkpoint"


def coincidence(graph: Data) -> str:
    """What is wrong with a graph in which atoms coincide."""
    r = edge_vectors(graph).norm(dim=-1)
    pair = graph.edge_index[:, int(r.argmin())].tolist()
    return f"{named(pair, graph.z)} coincide ({float(r.min()):g} Angstrom apart): move or remove one"


def named(atoms: list[int], z: torch.Tensor) -> str:
    """Atoms in words, for error messages: ``atoms 0 (C), 3 (H)``."""
    return f"atom{'s' * (len(atoms) > 1)} " + _listed([f"{atom} ({SYMBOLS[int(z[atom])]})" for atom in atoms])


def _listed(words: list[str], most: int = 6) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")
