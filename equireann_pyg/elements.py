"""Chemical symbols and atomic numbers, so that the model needs no I/O library."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Protocol

_TABLE = """
X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
"""Symbol of every atomic number; index 0 is the placeholder X."""


COVALENT_RADII: tuple[int, ...] = (
    *(0, 31, 28, 128, 96, 84, 76, 71, 66, 57, 58, 166, 141, 121, 111, 107, 105, 102, 106, 203, 176, 170, 160, 153, 139),
    *(139, 132, 126, 124, 132, 122, 122, 120, 119, 120, 120, 116, 220, 195, 190, 175, 164, 154, 147, 146, 142, 139),
    *(145, 144, 142, 139, 139, 138, 139, 140, 244, 215, 207, 204, 203, 201, 199, 198, 198, 196, 194, 192, 192, 189),
    *(190, 187, 187, 175, 170, 162, 151, 144, 141, 136, 136, 132, 145, 146, 148, 140, 150, 150, 260, 221, 215, 206),
    *(200, 196, 190, 187, 180, 169),
    *[169] * 22,
)
"""In picometres, by atomic number. Source: Cordero et al., Dalton Trans. 2008, 2832; beyond Cm that of Cm."""


class Numbers(Protocol):
    """Atomic numbers of atoms: a tensor or a NumPy array."""

    def tolist(self) -> list[int]:
        """As a list."""


def atomic_number(element: str | int) -> int:
    """Atomic number of a symbol or number (``"C"``, ``6`` and ``"6"`` all give 6).

    Raises:
        ValueError: if there is no such element.
    """
    if isinstance(element, str) and element in SYMBOLS[1:]:
        return SYMBOLS.index(element)
    try:
        number = int(element)
    except ValueError:
        number = 0
    if not 1 <= number < len(SYMBOLS):
        raise ValueError(f"unknown element {element!r}: expected a chemical symbol or a number from 1 to 118")
    return number


def atomic_numbers(elements: Iterable[str | int]) -> list[int]:
    """Sorted atomic numbers of the distinct ``elements``.

    Raises:
        ValueError: if the list is empty, has a repeated or an unknown element.
    """
    numbers = [atomic_number(element) for element in elements]
    if not numbers:
        raise ValueError("elements is empty: name every element of the data, for example ['C', 'H']")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"elements {numbers} names an element twice")
    return sorted(numbers)


def describe(numbers: Iterable[int]) -> str:
    """Symbols in words, for error messages: ``H, C``."""
    return ", ".join(SYMBOLS[number] for number in sorted(numbers))


def check_known(
    z: Numbers | Set[int], elements: Iterable[int], place: str = "", remedy: str = "add it to `elements` and train anew"
) -> None:
    """Refuse atoms of elements that a model does not know.

    Args:
        z: atomic number of each atom ``[N]``, or the set of them.
        elements: atomic numbers that the model knows.
        place: where the atoms are, for the message.
        remedy: what to do about them, likewise.

    Raises:
        ValueError: naming them.
    """
    known = set(elements)
    unknown = set(z if isinstance(z, Set) else z.tolist()) - known
    if unknown:
        what = f"unknown element {describe(unknown)}: this model was made for {describe(known)}"
        raise ValueError(f"{place and place + ': '}{what}; {remedy}")
