"""Development sets: parts of training sets on which choices are made, so that no test frame takes part in them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from experiments.accuracy.cases import ATOMS, BRINE, CASES, RMD17
from experiments.accuracy.heated import FOLDER as HEATED
from experiments.runs.case import Case, Part

ALKANES = partial(Part, "Alkanes", "alkanes_b3lyp")
GNL = partial(Part, "GNLCumulene", "gnl_cumulene")


def molecule(name: str) -> Case:
    """A molecule of rMD17: 450 training frames of the first fold to train on, 250 others of them to validate."""
    part = partial(Part, "RMD17", "rmd17", options={"molecule": name})
    return Case(
        f"dev-{name}",
        f"rMD17 {name}, 450 training frames; validated on 250 others",
        RMD17[name],
        part("train", "0:450"),
        part("train", "500:1000:2"),
        {},
        cutoff=5.0,
        energy_weight=float(ATOMS[name]),
    )


def few(name: str) -> Case:
    """A molecule of rMD17: 50 training frames of the first fold, which are learnt soon, so that only the prior is compared."""
    part = partial(Part, "RMD17", "rmd17", options={"molecule": name})
    title = f"rMD17 {name}, 50 training frames; validated on 125 others"
    return replace(
        molecule(name),
        name=f"dev-{name}-50",
        title=title,
        train=part("train", "0:500:10"),
        val=part("train", "501:1000:4"),
    )


def hot(name: str) -> Case:
    """A molecule of rMD17: the 450 training frames of lowest energy to train on, the 250 of highest energy to validate."""
    part = partial(Part, "RMD17", "rmd17", options={"molecule": name}, by_energy=True)
    title = f"rMD17 {name}, the 450 lowest of 1,000 training frames; validated on the 250 highest"
    return replace(
        molecule(name), name=f"dev-{name}-hot", title=title, train=part("train", ":450"), val=part("train", "-250:")
    )


def heated(name: str, elements: tuple[str, ...], atoms: int, far: int = 600) -> Case:
    """A molecule trained at 300 K and also judged far hotter, where it takes shapes that no training frame has."""
    part = partial(Part, "made", str(HEATED), options={"command": "python -m experiments.accuracy.heated"})
    cold = f"{name}-300"
    return Case(
        f"dev-{name}-300",
        f"{name} by GFN2-xTB, 450 frames of 300 K; far: {far} K",
        elements,
        part(cold, "0:450"),
        part(cold, "450:"),
        {"far": part(f"{name}-{far}", "::2")},
        cutoff=5.0,
        energy_weight=float(atoms),
    )


def element(name: str) -> Case:
    """An element of mlearn, of whose training frames every fifth is held out."""
    part = partial(Part, "MLearn", "mlearn", options={"element": name})
    like = CASES[f"mlearn-{name}"]
    title = f"mlearn {name}, every fifth training frame held out"
    train, val = part("train", without="::5"), part("train", "::5")
    return replace(like, name=f"dev-{name.lower()}", title=title, train=train, val=val, tests={}, remark="")


DEVELOPMENT = {
    case.name: case
    for case in (
        *(molecule(name) for name in ("aspirin", "malonaldehyde", "naphthalene")),
        few("aspirin"),
        hot("malonaldehyde"),
        heated("enol", RMD17["malonaldehyde"], ATOMS["malonaldehyde"]),
        heated("aspirin", RMD17["aspirin"], ATOMS["aspirin"]),
        heated("ethoxypyridine", ("H", "C", "N", "O"), 20, far=1000),
        Case(
            "dev-alkanes",
            "Alkanes C4 to C8 and C10",
            ("H", "C"),
            ALKANES("train"),
            ALKANES("val"),
            {},
            cutoff=5.0,
            energy_weight=22.0,
            remark="the zero of energy is another one for each length: see the column of shifted energies",
        ),
        Case(
            "dev-gnl",
            "Guaranteed non-local cumulenes",
            ("H", "C"),
            GNL("train"),
            GNL("val"),
            {},
            cutoff=4.0,
            iterations=4,
            energy_weight=14.0,
        ),
        element("Mo"),
        element("Ge"),
        replace(CASES["nacl-aq"], name="dev-nacl", train=BRINE("train"), val=BRINE("val"), tests={}),
    )
}
