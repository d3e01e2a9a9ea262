"""Cases of the experiment: sets, cutoffs, receptive fields and budgets.

A hop goes to the farthest atom within the cutoff. Along a cumulene (bonds of 1.28 A) that is three bonds at 4 A and two at
3 A, so T iterations pass (T + 1) hops of these. The number of iterations is chosen such that an atom at one end hears of
the hydrogen at the other end of the longest chain that is trained on.
"""

from __future__ import annotations

from functools import partial

from experiments.runs.case import Case, Part

CH, CHNO = ("H", "C"), ("H", "C", "N", "O")

TORSION = partial(Part, "CumuleneTorsion", "c9h4_torsion_efa")
GNL = partial(Part, "GNLCumulene", "gnl_cumulene")
CUMULENE = partial(Part, "cumulene", "")
IONS = partial(Part, "ChargeChargeDimers", "dimers_charge_charge", group="system")
LODE = partial(Part, "LodeDimers", "dimers_lode_les", group="label")
CARBON = partial(Part, "CarbonChains4G", "carbon_chains_4g_mini")
GOLD = partial(Part, "Au2MgO4G", "au2_mgo_4g_mini", "all")


def c9h4(frames: int, minutes: float) -> Case:
    """C9H4, trained on so many points of the scan."""
    few = frames < 600
    return Case(
        f"c9h4-{frames}",
        f"C9H4, rigid torsion, {frames} points",
        CH,
        TORSION("train", "::3" if few else ":", otherwise=("all", "1::4" if few else "1::2")),
        TORSION("val", otherwise=("all", "2::4")),
        {"test": TORSION("test", otherwise=("all", "::4"), scan="angle")},
        cutoff=4.0,
        iterations=3,
        minutes=minutes,
        energy_weight=13.0,
        quick=(4, 40),
        remark="13 atoms in a line, 11.4 A from hydrogen to hydrogen: 10 bonds, 4 hops of 3",
    )


CASES = {
    case.name: case
    for case in (
        c9h4(200, 10.0),
        c9h4(600, 10.0),
        Case(
            "gnl",
            "Guaranteed non-local cumulenes",
            CH,
            GNL("train"),
            GNL("val"),
            {
                "test": GNL("test"),
                "scan_angle": GNL("scan_angle", scan="phi"),
                "scan_length": GNL("scan_length", scan="nC"),
            },
            cutoff=4.0,
            iterations=4,
            energy_weight=14.0,
            quick=(3, 40),
            remark="trained on C3 to C10, C13 and C14 (15 bonds from H to H: 5 hops of 3); longer ones extrapolate",
        ),
        Case(
            "cumulene",
            "Cumulenes of the package, C9H4 held out",
            CH,
            CUMULENE("train", options={"config_types": ("C4H4", "C5H4", "C6H4", "C7H4", "C8H4")}),
            CUMULENE("val", options={"config_types": ("C4H4", "C5H4", "C6H4", "C7H4", "C8H4")}),
            {"test": CUMULENE("test"), "scan": CUMULENE("scan", group="n_carbons", scan="torsion")},
            cutoff=3.0,
            iterations=5,
            energy_weight=11.0,
            quick=(3, 40),
            remark="no atom sees hydrogen of both ends; 10 bonds in C9H4, 6 hops of 2",
        ),
        Case(
            "charge-charge",
            "Dimers of ions, nearest 7 distances",
            CHNO,
            IONS("train"),
            IONS("val"),
            {"test": IONS("test", scan="distance"), "near": IONS("train", scan="distance")},
            cutoff=4.0,
            iterations=3,
            minutes=10.0,
            energy_weight=19.0,
            quick=(2, 16),
            remark="own split; beyond the cutoff no message passes from one ion to the other",
        ),
        Case(
            "lode",
            "Dimers of ions and molecules, beyond 12 A",
            CHNO,
            LODE("train"),
            LODE("train", "::6"),
            {"test": LODE("test", scan="distance"), "near": LODE("train", scan="distance")},
            cutoff=4.0,
            iterations=3,
            minutes=10.0,
            energy_weight=20.0,
            quick=(2, 16),
            remark="no validation set: every sixth training frame stands in. No finite-range model can work here",
        ),
        Case(
            "carbon-4g",
            "C10H2 and C10H3+, 128 frames",
            CH,
            CARBON("train", otherwise=("all", "::2")),
            CARBON("val", otherwise=("all", "1::4")),
            {"test": CARBON("test", otherwise=("all", "3::4"))},
            cutoff=4.0,
            iterations=3,
            energy_weight=12.0,
            quick=(2, 16),
            remark="one hundredth of the published set; the third hydrogen tells the charge",
        ),
        Case(
            "au2-4g",
            "Au2 on MgO, pure and doped, 18 frames",
            ("O", "Mg", "Al", "Au"),
            GOLD("::2"),
            GOLD("1::4"),
            {"test": GOLD("3::4")},
            cutoff=4.0,
            iterations=3,
            minutes=5.0,
            batch_size=3,
            energy_weight=110.0,
            quick=(1, 3),
            remark="9 frames to train on, 4 to test: shows that it runs, measures nothing",
        ),
    )
}
