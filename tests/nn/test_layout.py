"""The shape of an orbital."""

from __future__ import annotations

import pytest

from equireann_pyg.nn import Layout
from equireann_pyg.nn.layout import degree_of


def test_degrees() -> None:
    layout = Layout((1, 3, 6), 4, 2, cartesian=True)
    assert layout.max_degree == 2
    assert degree_of(layout.components).tolist() == [0] + [1] * 3 + [2] * 6
    assert degree_of((1,)).tolist() == [0]


def test_harmonics_are_required() -> None:
    Layout((1, 3, 5), 4, 2).require_harmonics("Something")
    with pytest.raises(ValueError, match=r"Something needs spherical harmonics, got Cartesian moments: use angular="):
        Layout((1, 3, 6), 4, 2, cartesian=True).require_harmonics("Something")
