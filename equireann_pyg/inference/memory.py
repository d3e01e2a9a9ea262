"""The memory that a large system takes in blocks, before it is taken."""

from __future__ import annotations

from equireann_pyg.models.network import OrbitalNetwork

INTEGER, DOUBLE = 8, 8
"""Bytes of numbers whose type is that of every graph."""


def bytes_of_edge(network: OrbitalNetwork) -> dict[str, int]:
    """Bytes that an evaluation in blocks keeps for each edge: no functions of edges, which exist for one block."""
    real = network.coefficient.element_size()
    return {
        "edge_index and shift": 2 * INTEGER + 3 * DOUBLE,
        "vector, as it is and in the type of the model": 3 * (DOUBLE + real),
        "ends in numbers of a block, and their order (int32)": 2 * INTEGER + 2 * 4,
    }


def bytes_of_atom(network: OrbitalNetwork) -> dict[str, int]:
    """Bytes that it keeps for each atom."""
    real, later = network.coefficient.element_size(), network.num_iterations
    components, n, channels = sum(network.angular.components), network.coefficient.size(1), network.layout.num_channels
    sent = max((getattr(rule, "num_sent", n) for rule in network.rules), default=0)
    return {
        "positions and forces, and three times its element": 6 * DOUBLE + 3 * INTEGER,
        "orbitals, of which a network with messages has wider ones later": real * components * (n + later * channels),
        "messages": real * components * sent * later,
        "coefficients": real * n * (later + 1),
        "gradient of one orbital": real * components * channels,
    }


def expected_bytes(network: OrbitalNetwork, atoms: int, edges: int) -> int:
    """Memory of energy and forces in blocks, the graph included, but not the temporary tensors of one block.

    The peak is on the way back: at the features, which all iterations have with their gradients, or later, at the gradients of
    the edge vectors. Large models come within a tenth of it; small ones, in which the edges count most, take up to 1.4 times
    it.

    Args:
        network: of the potential.
        atoms: number of atoms.
        edges: number of edges, both directions of every pair.
    """
    real = network.coefficient.element_size()
    always = atoms * sum(bytes_of_atom(network).values()) + edges * sum(bytes_of_edge(network).values())
    features = atoms * 2 * real * network.num_features * (network.num_iterations + 1)
    gradients = edges * 3 * (DOUBLE + 2 * real)
    return always + max(features, gradients)
