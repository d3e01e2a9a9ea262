"""EquiREANN-plus: messages that know from where they come, beside the orbitals of a body-ordered descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.nn import (
    ACEProducts,
    AllReadout,
    Angular,
    DecayingCutoff,
    Directed,
    PairRadial,
    Separate,
    SphericalHarmonics,
)

PER_DISTANCE = 16
"""Radial functions per width: their number over this is their width in units of their distance, so that more are as smooth."""


class EquiREANNPlus(OrbitalNetwork):
    r"""The most accurate model of the package for its cost; the defaults are those of the configuration ``equireann-plus-m``.

    An :class:`OrbitalNetwork` of :class:`~equireann_pyg.nn.ACEProducts`, :class:`~equireann_pyg.nn.Directed` and
    :class:`~equireann_pyg.nn.AllReadout`, which take further settings there. The other sizes:

    ====================  ===========  ============  ============  ==============
    configuration         num_radial   num_products  num_messages  num_iterations
    ====================  ===========  ============  ============  ==============
    ``equireann-plus-s``  64           48            16            1
    ``equireann-plus-m``  96           64            16            1
    ``equireann-plus-l``  128          128           32            2
    ====================  ===========  ============  ============  ==============

    Args:
        elements: chemical symbols or atomic numbers the model knows; the command line takes those of the training set.
        cutoff: :math:`r_c` in Angstrom; nothing is seen beyond T + 1 cutoffs.
        angular: angular part; default :class:`~equireann_pyg.nn.SphericalHarmonics` to degree 3.
        num_radial: number of radial channels n.
        num_products: number of channels k whose products up to fourth order are the features.
        num_messages: number of channels m of messages as they are sent.
        num_iterations: number of message-passing iterations T; structures far apart want more of them.
        hidden_channels: hidden widths of the coefficient and output networks.
        directed_degree: largest degree of the messages that arrives directed as well; None for messages that do not know from
            where they come (:class:`~equireann_pyg.nn.Separate`), as in files of before.
    """

    unstored: ClassVar[dict[str, Any]] = {"directed_degree": None}

    def __init__(
        self,
        elements: Sequence[str | int] = (),
        cutoff: float = 5.0,
        angular: Angular | None = None,
        num_radial: int = 96,
        num_products: int = 64,
        num_messages: int = 16,
        num_iterations: int = 1,
        hidden_channels: Sequence[int] = (32,),
        directed_degree: int | None = 1,
    ) -> None:
        rule = Separate(hidden_channels, num_messages)
        if directed_degree is not None:
            rule = Directed(hidden_channels, 2 * num_messages, max_degree=directed_degree)
        super().__init__(
            elements,
            cutoff,
            ACEProducts(num_products, order=4),
            rule,
            AllReadout(hidden_channels),
            SphericalHarmonics(3) if angular is None else angular,
            radial=PairRadial(num_radial, num_radial / PER_DISTANCE, DecayingCutoff(power=6)),
            num_iterations=num_iterations,
        )
        self.num_radial, self.num_products, self.num_messages = num_radial, num_products, num_messages
        self.hidden_channels, self.directed_degree = list(hidden_channels), directed_degree
