"""Cases of the experiment: published sets, splits and our budgets."""

from __future__ import annotations

from functools import partial

from experiments.benchmarks.case import Case, Part

BPA = partial(Part, "ThreeBPA", "3bpa")
ACAC = partial(Part, "Acetylacetone", "acac")
NICKEL = partial(Part, "CO2Ni100", "co2_ni100_reann")
BRINE = partial(Part, "AqueousNaCl", "nacl_aq_revpbe0d3")
ALLOY = partial(Part, "NbMoTaW", "nbmotaw_hea")
LIPS = partial(Part, "LiPS20", "lips20", group="system")


def rmd17(molecule: str, elements: tuple[str, ...], atoms: int, epochs: int) -> Case:
    """A molecule of rMD17, first official split."""
    part = partial(Part, "RMD17", "rmd17", options={"molecule": molecule})
    return Case(
        f"rmd17-{molecule}",
        f"rMD17 {molecule}, 950 + 50 frames",
        elements,
        part("train", "0:950"),
        part("train", "950:"),
        {"test": part("test")},
        cutoff=5.0,
        epochs=epochs,
        energy_weight=float(atoms),
        remark="papers quote mean absolute errors, of energies and of force components",
    )


CASES = {
    case.name: case
    for case in (
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
                **{f"dihedral-{beta}": BPA(f"test_dih_beta{beta}", optional=True) for beta in (120, 150, 180)},
            },
            cutoff=5.0,
            epochs=450,
            energy_weight=27.0,
            quick=(4, 60),
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
                "dihedral": ACAC("test_dihedral"),
                "H-transfer": ACAC("test_H_transfer"),
            },
            cutoff=5.0,
            epochs=300,
            energy_weight=15.0,
            quick=(4, 60),
        ),
        rmd17("aspirin", ("H", "C", "O"), 21, 180),
        rmd17("ethanol", ("H", "C", "O"), 9, 60),
        rmd17("malonaldehyde", ("H", "C", "O"), 9, 60),
        Case(
            "co2-ni100",
            "CO2 on Ni(100), 640 + 80 frames",
            ("C", "O", "Ni"),
            NICKEL("train", otherwise=("official_val", "::2")),
            NICKEL("val", otherwise=("official_val", "1::8")),
            {"test": NICKEL("test", otherwise=("official_val", "3::4"))},
            cutoff=5.0,
            epochs=40,
            energy_weight=39.0,
            quick=(2, 15),
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
            epochs=8,
            batch_size=2,
            energy_weight=190.0,
            quick=(1, 6),
            remark="own split",
        ),
        Case(
            "nbmotaw",
            "Nb-Mo-Ta-W alloys, with stress, 628 + 80 frames",
            ("Nb", "Mo", "Ta", "W"),
            ALLOY("train"),
            ALLOY("val"),
            {name: ALLOY(f"test_{name}") for name in ("pure", "binary", "quaternary")},
            cutoff=5.0,
            epochs=50,
            energy_weight=30.0,
            quick=(2, 12),
            remark="official tests, own selection of the training files",
        ),
        Case(
            "lips20",
            "Li-P-S, 16 compositions at 3000 K, with stress, 640 + 64 frames",
            ("Li", "P", "S"),
            LIPS("train"),
            LIPS("val"),
            {"test": LIPS("test")},
            cutoff=5.0,
            epochs=20,
            batch_size=4,
            energy_weight=80.0,
            quick=(2, 8),
            remark="own split",
        ),
    )
}
