"""Cumulene chains C_nH_4: geometry, torsion of one end, harmonic thermal displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOND_CC, BOND_CH, ANGLE = 1.28, 1.09, np.radians(121.5)  # Angstrom, radian: starting geometry
KB = 8.617333262e-5  # eV/K
HARTREE, BOHR = 27.211386245988, 0.529177210903  # eV, Angstrom
AMU_EV = 1.0364269572e-4  # amu Angstrom^2 / ps^2 in eV


def equilibrium_torsion(n: int) -> float:
    """H-C..C-H dihedral at rest in degrees: 0 (planar) for even n, 90 for odd n."""
    return 90.0 if n % 2 else 0.0


def start_geometry(n: int) -> tuple[list[str], Array]:
    """Symbols and idealised positions ``[n + 4, 3]`` in Angstrom: chain on z, the last two atoms are the far H."""
    x, z = BOND_CH * np.sin(ANGLE), BOND_CH * np.cos(ANGLE)
    phi = np.radians(equilibrium_torsion(n))
    carbon = [(0.0, 0.0, BOND_CC * k) for k in range(n)]
    near = [(sign * x, 0.0, z) for sign in (1, -1)]
    far = [(sign * x * np.cos(phi), sign * x * np.sin(phi), BOND_CC * (n - 1) - z) for sign in (1, -1)]
    return ["C"] * n + ["H"] * 4, np.array(carbon + near + far)


def twist(positions: Array, axis_from: Array, axis_to: Array, degrees: float) -> Array:
    """Rotate the last two atoms about the axis through two points."""
    axis = (axis_to - axis_from) / np.linalg.norm(axis_to - axis_from)
    twisted = positions.copy()
    twisted[-2:] = axis_from + (positions[-2:] - axis_from) @ rotation(axis, np.radians(degrees)).T
    return twisted


def rotation(axis: Array, angle: float) -> Array:
    """Rotation matrix about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def random_rotation(rng: np.random.Generator) -> Array:
    """A uniformly distributed rotation matrix."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def sees_both_ends(positions: Array, n: int, cutoff: float) -> bool:
    """Whether some atom has H of both ends within ``cutoff``."""
    distance = np.linalg.norm(positions[:, None] - positions[None, n:], axis=-1)  # -> [n + 4, 4]
    near, far = distance[:, :2].min(1), distance[:, 2:].min(1)
    return bool(((near < cutoff) & (far < cutoff)).any())


@dataclass
class NormalModes:
    """Harmonic modes of a chain without translation, rotation and torsion.

    Args:
        frequency: angular frequencies ``[k]`` in rad/ps.
        vectors: mass-weighted modes ``[3N, k]``.
        masses: ``[N]`` in amu.
    """

    frequency: Array
    vectors: Array
    masses: Array

    @classmethod
    def from_hessian(cls, positions: Array, masses: Array, hessian: Array, n: int) -> NormalModes:
        """Diagonalise a Hessian ``[3N, 3N]`` in eV/Angstrom^2 in the space orthogonal to the seven excluded motions."""
        root = np.repeat(np.sqrt(masses), 3)
        centred = positions - np.average(positions, axis=0, weights=masses)
        motions = [np.tile(e, len(masses)) for e in np.eye(3)]
        motions += [np.cross(e, centred).ravel() for e in np.eye(3)]
        torsion = np.zeros_like(positions)
        torsion[-2:] = np.cross([0, 0, 1.0], positions[-2:] - positions[n - 1])
        motions.append(torsion.ravel())
        basis, _ = np.linalg.qr(np.array(motions).T * root[:, None])  # -> [3N, 7]
        keep = np.linalg.svd(np.eye(len(root)) - basis @ basis.T)[0][:, : len(root) - 7]
        weighted = hessian / np.outer(root, root) / AMU_EV  # 1/ps^2
        values, vectors = np.linalg.eigh(keep.T @ weighted @ keep)
        return cls(np.sqrt(np.clip(values, 0, None)), keep @ vectors, masses)

    def displacement(self, rng: np.random.Generator, temperature: float) -> Array:
        """A classical thermal displacement ``[N, 3]`` in Angstrom.

        Args:
            rng: source of randomness.
            temperature: in K.
        """
        amplitude = np.sqrt(KB * temperature / AMU_EV) / self.frequency  # amu^(1/2) Angstrom
        weighted = self.vectors @ (amplitude * rng.normal(size=amplitude.size))
        return weighted.reshape(-1, 3) / np.sqrt(self.masses)[:, None]
