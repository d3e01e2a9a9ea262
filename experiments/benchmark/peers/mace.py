"""MACE (mace-torch), https://github.com/ACEsuit/mace."""

from __future__ import annotations

from ase.calculators.calculator import Calculator
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu

from experiments.benchmark.peers.adapter import Adapter, mean_neighbours, one_graph, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


class MACE(Adapter):
    """Atomic energies of ScaleShiftMACE with two layers, products of third order and harmonics to degree 3.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        channels: of the hidden features.
        degree: largest degree of the hidden features.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0, channels: int = 128, degree: int = 1) -> None:
        from mace import modules  # before e3nn 0.4.4, which else cannot load its constants with a recent torch

        from e3nn import o3  # isort: skip
        import numpy as np

        super().__init__(elements, cutoff, channels=channels, degree=degree)
        block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
        self.mace = modules.ScaleShiftMACE(
            r_max=cutoff,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=len(self.elements),
            hidden_irreps=o3.Irreps(" + ".join(f"{channels}x{order}{'eo'[order % 2]}" for order in range(degree + 1))),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=silu,
            atomic_energies=np.zeros(len(self.elements)),
            avg_num_neighbors=1.0,
            atomic_numbers=self.elements,
            correlation=3,
            radial_type="bessel",
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
        for part in self.mace.interactions:  # numbers that a file has to keep
            del part.avg_num_neighbors
            part.register_buffer("avg_num_neighbors", self.mace.r_max.new_ones(()))

    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Tell the layers the average number of neighbours."""
        for part in self.mace.interactions:
            part.avg_num_neighbors.fill_(mean_neighbours(z, edge_index))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: of atoms at the origin, whose shifts are the edges (MACE's point from j to i)."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        batch = one_graph(z)
        fields = {
            "positions": edge_vec.new_zeros(z.numel(), 3),
            "node_attrs": one_hot(self.species[z], len(self.elements)).to(edge_vec),
            "edge_index": edge_index,
            "shifts": -edge_vec,
            "unit_shifts": edge_vec.new_zeros(edge_vec.shape),
            "cell": edge_vec.new_zeros(3, 3),
            "batch": batch,
            "ptr": batch.new_tensor([0, z.numel()]),
        }
        return self.mace(fields, training=self.training, compute_force=False)["node_energy"].to(edge_vec)

    def own_calculator(self) -> Calculator:
        """MACE's calculator."""
        from mace.calculators import MACECalculator

        model: nn.Module = self.mace
        return MACECalculator(models=[model], device="cpu", default_dtype=str(next(model.parameters()).dtype)[6:])


ENVIRONMENT = Environment("mace", ("mace-torch==0.3.16",))
DEFAULTS = "mace_run_train 0.3.16: batches of 10, Adam (AMSGrad) at 0.01, weight decay 5e-7"
PAPER = "Batatia et al., arXiv:2206.07697, appendix (3BPA): 256 channels, L = 2, batches of 5, AMSGrad at 0.01"


def _peer(name: str, channels: int, degree: int, source: str, batch_size: int = 10, program: str = "") -> Peer:
    recipe = published(
        "experiments.benchmark.peers.mace.MACE",
        {"channels": channels, "degree": degree},
        **{"lr": 0.01, "batch_size": batch_size, "weight_decay": 5e-7, "amsgrad": True},  # type: ignore[arg-type]
    )
    known = {"rotation, reflection": "coupling coefficients are kept in single precision: 1e-9"}
    package, first = ("mace-torch", "e3nn"), ("mace.modules",)
    return Peer(name, recipe, source, ENVIRONMENT, first, package, derivatives=2, program=program, known=known)


PEERS = (
    _peer("MACE-small", 128, 0, f"128x0e; {DEFAULTS}"),
    _peer("MACE-medium", 128, 1, f"128x0e + 128x1o; {DEFAULTS}", program="mace"),
    _peer("MACE-3BPA", 256, 2, PAPER, batch_size=5),
)
