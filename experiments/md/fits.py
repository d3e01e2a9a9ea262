"""Birch and Murnaghan's equation of state."""

from __future__ import annotations

import numpy as np


def birch(volumes: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """Volume of the lowest energy and bulk modulus there, of a cubic polynomial in V^(-2/3).

    F. Birch, Phys. Rev. 71, 809 (1947).

    Args:
        volumes: ``[V]``.
        energies: ``[V]``.

    Raises:
        ValueError: if the polynomial has no minimum.
    """
    centre = volumes.mean()
    x = (volumes / centre) ** (-2 / 3)
    polynomial = np.polynomial.Polynomial.fit(x, energies, 3)
    first, second = polynomial.deriv(1), polynomial.deriv(2)
    found = [root.real for root in first.roots() if abs(root.imag) < 1e-9 and second(root.real) > 0]
    inside = [root for root in found if x.min() <= root <= x.max()]
    if not inside:
        raise ValueError("the energies have no minimum among these volumes")
    place = float(inside[0])
    volume = centre * place ** (-1.5)
    slope = -2 / 3 * place / volume  # dx/dV
    return volume, float(volume * second(place) * slope**2)
