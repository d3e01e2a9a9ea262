"""CACE, https://github.com/BingqingCheng/cace: no package, so its clone is put on the path."""

from __future__ import annotations

import copy
import sys

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor

from experiments.benchmark.peers.adapter import Adapter, OwnForward, one_graph, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published
from experiments.benchmark.peers.pyg import default_dtype

ENVIRONMENT = Environment(
    "cace",
    ("matscipy==1.3.1",),
    ("--no-deps",),
    checkout=("https://github.com/BingqingCheng/cace", "19ae23c052fd4c783090688338803d24815ab898"),
)


class CACE(Adapter):
    """Atomic energies of the Cartesian atomic cluster expansion with products of three and one message.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        embedding: numbers that describe an element.
        bessel: number of Bessel functions.
        radial: number of radial functions that are made of them.
        degree: largest degree of the monomials.
        exponent: of the polynomial envelope.
        kinds: of messages.
        shared: whether the weights of a message are the same for all channels and degrees.
    """

    def __init__(
        self,
        elements: list[str],
        cutoff: float = 5.5,
        embedding: int = 3,
        bessel: int = 6,
        radial: int = 12,
        degree: int = 3,
        exponent: int = 6,
        kinds: tuple[str, ...] = ("Bchi",),
        shared: bool = True,
    ) -> None:
        sizes = {"embedding": embedding, "bessel": bessel, "radial": radial, "degree": degree, "exponent": exponent}
        super().__init__(elements, cutoff, **sizes, kinds=list(kinds), shared=shared)
        if str(ENVIRONMENT.source) not in sys.path:
            sys.path.insert(0, str(ENVIRONMENT.source))
        from cace.modules import Atomwise, BesselRBF, PolynomialCutoff
        from cace.representations import Cace

        with torch.random.fork_rng(devices=[]):  # it sets seeds of its own
            self.representation = Cace(
                zs=self.elements,
                n_atom_basis=embedding,
                embed_receiver_nodes=True,
                cutoff=cutoff,
                cutoff_fn=PolynomialCutoff(cutoff, p=exponent),
                radial_basis=BesselRBF(cutoff, n_rbf=bessel, trainable=True),
                n_radial_basis=radial,
                max_l=degree,
                max_nu=3,
                num_message_passing=1,
                type_message_passing=list(kinds),
                args_message_passing={"Bchi": {"shared_channels": shared, "shared_l": shared}},
            )
        self.readout = Atomwise(
            n_layers=3, n_hidden=[32, 16], add_linear_nn=True, per_atom_output_key="energies", aggregation_mode=None
        )
        self._make_networks()

    @torch.no_grad()
    def _make_networks(self) -> None:
        """Evaluate a dimer, since its networks are made at their first call."""
        vec = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
        self(torch.tensor(self.elements[:1] * 2), torch.tensor([[0, 1], [1, 0]]), vec)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: of atoms at the origin, whose shifts are the edges (CACE's point from j to i)."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        data = {
            "positions": edge_vec.new_zeros(z.numel(), 3),
            "atomic_numbers": z,
            "edge_index": edge_index,
            "shifts": -edge_vec,
            "cell": edge_vec.new_zeros(3, 3),
            "batch": one_graph(z),
        }
        with default_dtype(edge_vec.dtype):  # of its one-hot vectors
            return self.readout(self.representation(data))["energies"].squeeze(-1)

    def own_calculator(self) -> Calculator:
        """CACE's potential on its own graphs; its calculator takes no array of one energy for a number any more."""
        from cace.data import AtomicData
        from cace.models import NeuralNetworkPotential

        readout = copy.deepcopy(self.readout)
        readout.aggregation_mode = "sum"
        potential = NeuralNetworkPotential(copy.deepcopy(self.representation), output_modules=[readout])

        def energy(z: Tensor, pos: Tensor) -> Tensor:
            with default_dtype(pos.dtype):
                graph = AtomicData.from_atoms(Atoms(z, pos.detach()), self.cutoff).to_dict()
                graph |= {"positions": pos, "batch": torch.zeros_like(z)}
                return potential(graph, compute_stress=False)["energy"]

        return OwnForward(energy, next(self.parameters()).dtype)


MOLECULES = {"embedding": 4, "bessel": 8, "degree": 4, "exponent": 2, "kinds": ["M", "Ar", "Bchi"], "shared": False}
KIND = "experiments.benchmark.peers.cace.CACE"

PEERS = (
    Peer(
        "CACE",
        published(KIND, lr=0.01, batch_size=2),
        "examples/water_train.py: embedding of 3, 6 to 12 radial functions, l = 3, nu = 3; batches of 2, Adam at 0.01",
        ENVIRONMENT,
        derivatives=2,
    ),
    Peer(
        "CACE-3BPA",
        published(KIND, MOLECULES, lr=0.01, batch_size=2),
        "BingqingCheng/cacefit, fit-bpa3: embedding of 4, 8 to 12 radial functions, l = 4, nu = 3, three kinds of messages",
        ENVIRONMENT,
        derivatives=2,
    ),
)
