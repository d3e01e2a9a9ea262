"""PaiNN and SchNet of SchNetPack, https://github.com/atomistic-machine-learning/schnetpack."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import TypeVar

from ase.calculators.calculator import Calculator
from torch import Tensor, nn
from torch.utils.data import dataloader

from experiments.benchmark.peers.adapter import Adapter, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


def package() -> ModuleType:
    """SchNetPack; its 2.1.1 imports the name ``T_co``, for annotations only, from where torch no longer has it."""
    if not hasattr(dataloader, "T_co"):
        dataloader.T_co = TypeVar("T_co", covariant=True)  # type: ignore[attr-defined]
    import schnetpack

    return schnetpack


class SchNetPack(Adapter):
    """Atomic energies of a representation of SchNetPack with Gaussians, a cosine cutoff and the default output network.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        kind: ``"PaiNN"`` or ``"SchNet"``.
        features: of an atom.
        interactions: number of layers.
        radial: number of Gaussians.
    """

    def __init__(
        self,
        elements: list[str],
        cutoff: float = 5.0,
        kind: str = "PaiNN",
        features: int = 128,
        interactions: int = 3,
        radial: int = 20,
    ) -> None:
        super().__init__(elements, cutoff, kind=kind, features=features, interactions=interactions, radial=radial)
        spk = package()
        self.representation = getattr(spk.representation, kind)(
            n_atom_basis=features,
            n_interactions=interactions,
            radial_basis=spk.nn.GaussianRBF(n_rbf=radial, cutoff=cutoff),
            cutoff_fn=spk.nn.CosineCutoff(cutoff),
        )
        self.readout = spk.atomistic.Atomwise(n_in=features, output_key="energy", per_atom_output_key="energies")
        self.readout.aggregation_mode = None  # atoms only

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: its vectors go from i to j, as ours."""
        (j, i), edge_vec = within(edge_index, edge_vec, self.cutoff)
        fields = {"_atomic_numbers": z, "_Rij": edge_vec, "_idx_i": i, "_idx_j": j}
        return self.readout(self.representation(fields))["energies"].squeeze(-1)

    def own_calculator(self) -> Calculator:
        """SchNetPack's calculator with its own neighbours, distances and forces; the model is handed over in memory.

        From a file it cannot take one: it calls ``torch.load`` without ``weights_only=False``, which torch 2.6 refuses.
        """
        spk = package()
        readout = copy.deepcopy(self.readout)
        readout.aggregation_mode = "sum"
        model = spk.model.NeuralNetworkPotential(
            copy.deepcopy(self.representation),
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[readout, spk.atomistic.Forces()],
        )

        class InMemory(spk.interfaces.SpkCalculator):  # type: ignore[name-defined]
            def _load_model(self, model_file: nn.Module) -> nn.Module:
                return model_file.eval()

        neighbours = spk.transform.MatScipyNeighborList(cutoff=self.cutoff)
        return InMemory(model, neighbours, energy_unit="eV", dtype=next(self.parameters()).dtype)


ENVIRONMENT = Environment(
    "schnetpack",
    (
        "schnetpack==2.1.1",
        "dirsync==2.2.6",
        "fasteners==0.20",
        "h5py==3.16.0",
        "matscipy==1.3.1",
        "omegaconf==2.4.0",
        "torch-ema==0.3",
    ),
    ("--no-deps",),  # its pin sympy<=1.12 contradicts torch
)


def _peer(kind: str, interactions: int) -> Peer:
    recipe = published(
        "experiments.benchmark.peers.schnetpack.SchNetPack",
        {"kind": kind, "features": 128, "interactions": interactions, "radial": 20},
        lr=1e-3,
        batch_size=10,
    )
    source = (
        f"configs/model/representation/{kind.lower()}.yaml and experiment/rmd17.yaml of SchNetPack 2.1.1: Adam at 1e-3"
    )
    return Peer(f"{kind} (SchNetPack)", recipe, source, ENVIRONMENT, package=("schnetpack",))


PEERS = (_peer("PaiNN", 3), _peer("SchNet", 6))
