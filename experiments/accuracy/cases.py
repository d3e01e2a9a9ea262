"""Cases of the experiment: published sets, splits and our budgets."""

from __future__ import annotations

from functools import partial

from experiments.accuracy.coordinates import proton, volume
from experiments.runs.case import INDEX, Case, Part

BPA = partial(Part, "ThreeBPA", "3bpa")
ACAC = partial(Part, "Acetylacetone", "acac")
NICKEL = partial(Part, "CO2Ni100", "co2_ni100_reann")
BRINE = partial(Part, "AqueousNaCl", "nacl_aq_revpbe0d3")
WATER = partial(Part, "Water", "water_revpbe0d3_mini")
ALLOY = partial(Part, "NbMoTaW", "nbmotaw_hea")
GLASS = partial(Part, "LiPS20", "lips20", group="system")
LIPS = partial(Part, "LiPS", "lips_nequip_subset")
ARGYRODITE = partial(Part, "Li6PS5Cl", "li6ps5cl_sevennet")

THREE_HOURS = {"EquiREANN-plus-m": 180.0, "EquiREANN-plus-l": 180.0}
"""Minutes of the two larger models on the sets that most papers report."""

RMD17 = {
    **{name: ("H", "C") for name in ("benzene", "naphthalene", "toluene")},
    **{name: ("H", "C", "O") for name in ("aspirin", "ethanol", "malonaldehyde", "salicylic")},
    **{name: ("H", "C", "N", "O") for name in ("paracetamol", "uracil")},
    "azobenzene": ("H", "C", "N"),
}
"""Elements of the molecules of rMD17."""

ATOMS = {
    **{"aspirin": 21, "azobenzene": 24, "benzene": 12, "ethanol": 9, "malonaldehyde": 9},
    **{"naphthalene": 18, "paracetamol": 20, "salicylic": 16, "toluene": 15, "uracil": 12},
}
"""Number of atoms of these molecules."""


def rmd17(molecule: str) -> Case:
    """A molecule of rMD17, first official split."""
    part = partial(Part, "RMD17", "rmd17", options={"molecule": molecule})
    return Case(
        f"rmd17-{molecule}",
        f"rMD17 {molecule}, 950 + 50 frames",
        RMD17[molecule],
        part("train", "0:950"),
        part("train", "950:"),
        {"test": part("test")},
        cutoff=5.0,
        longer=THREE_HOURS if molecule == "aspirin" else {},
        energy_weight=float(ATOMS[molecule]),
        remark="papers quote mean absolute errors, of energies and of force components",
    )


def mlearn(element: str, atoms: float) -> Case:
    """An element of mlearn; every tenth training frame is for validation."""
    part = partial(Part, "MLearn", "mlearn", options={"element": element})
    return Case(
        f"mlearn-{element}",
        f"mlearn {element}, with stress",
        (element,),
        part("train", without="::10"),
        part("train", "::10"),
        {"test": part("test")},
        cutoff=5.0,
        energy_weight=atoms,
        remark="official test frames; every tenth training frame is for validation",
    )


MOLECULES = (
    Case(
        "3bpa",
        "3BPA, trained at 300 K on 450 + 50 frames",
        ("H", "C", "N", "O"),
        BPA("train_300K", ":450"),
        BPA("train_300K", "450:"),
        {
            "300K": BPA("test_300K"),
            "600K": BPA("test_600K"),
            "1200K": BPA("test_1200K", optional=True),
            **{f"dihedral-{beta}": BPA(f"test_dih_beta{beta}", optional=True, scan=INDEX) for beta in (120, 150, 180)},
        },
        cutoff=5.0,
        longer=THREE_HOURS,
        energy_weight=27.0,
    ),
    Case(
        "acac",
        "Acetylacetone, trained at 300 K on 450 + 50 frames",
        ("H", "C", "O"),
        ACAC("train_300K", ":450"),
        ACAC("train_300K", "450:"),
        {
            "300K": ACAC("test_MD_300K"),
            "600K": ACAC("test_MD_600K"),
            "dihedral": ACAC("test_dihedral", scan="dihedral_angle"),
            "H-transfer": ACAC("test_H_transfer", scan=proton),
        },
        cutoff=5.0,
        longer=THREE_HOURS,
        energy_weight=15.0,
    ),
    *(rmd17(molecule) for molecule in sorted(RMD17)),
)

LIQUIDS_AND_SURFACES = (
    Case(
        "co2-ni100",
        "CO2 on Ni(100), 640 + 80 frames",
        ("C", "O", "Ni"),
        NICKEL("train", otherwise=("official_val", "::2")),
        NICKEL("val", otherwise=("official_val", "1::8")),
        {"test": NICKEL("test", otherwise=("official_val", "3::4"))},
        cutoff=5.0,
        energy_weight=39.0,
        quick=(1, 8),
        remark="a part of the published set: its errors do not compare",
    ),
    Case(
        "nacl-aq",
        "NaCl in water, 500 + 60 frames",
        ("H", "O", "Na", "Cl"),
        BRINE("train"),
        BRINE("val"),
        {"test": BRINE("test")},
        cutoff=5.0,
        batch_size=2,
        energy_weight=190.0,
        quick=(1, 4),
        remark="own split",
    ),
    Case(
        "water",
        "Water, revPBE0-D3, 110 + 16 frames",
        ("H", "O"),
        WATER("train"),
        WATER("val"),
        {"test": WATER("test")},
        cutoff=5.0,
        batch_size=2,
        energy_weight=192.0,
        quick=(1, 4),
        remark="a tenth of the published set, own split: its errors do not compare",
    ),
)

CRYSTALS = (
    Case(
        "nbmotaw",
        "Nb-Mo-Ta-W alloys, with stress, 628 + 80 frames",
        ("Nb", "Mo", "Ta", "W"),
        ALLOY("train"),
        ALLOY("val"),
        {name: ALLOY(f"test_{name}") for name in ("pure", "binary", "quaternary")},
        cutoff=5.0,
        energy_weight=30.0,
        quick=(1, 8),
        remark="official tests, own selection of the training files",
    ),
    Case(
        "lips20",
        "Li-P-S, 16 compositions at 3000 K, with stress, 640 + 64 frames",
        ("Li", "P", "S"),
        GLASS("train"),
        GLASS("val"),
        {"test": GLASS("test")},
        cutoff=5.0,
        batch_size=4,
        energy_weight=80.0,
        quick=(1, 4),
        remark="own split",
    ),
    Case(
        "lips",
        "Li6.75P3S11 at 520 K, 500 + 100 frames",
        ("Li", "P", "S"),
        LIPS("train"),
        LIPS("val"),
        {"test": LIPS("test")},
        cutoff=5.0,
        batch_size=4,
        energy_weight=83.0,
        quick=(1, 4),
        remark="own split of a part of the published trajectory: its errors hardly compare",
    ),
    Case(
        "li6ps5cl",
        "Li6PS5Cl, 416 atoms, with stress, 52 + 8 frames of 600 K and 1200 K",
        ("Li", "P", "S", "Cl"),
        ARGYRODITE("train"),
        ARGYRODITE("val"),
        {
            "600K": ARGYRODITE("test_600K"),
            "1200K": ARGYRODITE("test_1200K"),
            "eos": ARGYRODITE("test_eos", scan=volume),
        },
        cutoff=5.0,
        batch_size=1,
        energy_weight=416.0,
        quick=(1, 2),
        remark="own selection of the source's frames",
    ),
    mlearn("Li", 48.0),
    mlearn("Mo", 52.0),
    mlearn("Si", 62.0),
    mlearn("Ge", 62.0),
)

CASES = {case.name: case for case in (*MOLECULES, *LIQUIDS_AND_SURFACES, *CRYSTALS)}
