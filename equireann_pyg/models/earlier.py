"""Recipes of networks in files of earlier versions, in present terms.

Up to version 0.1 :class:`~equireann_pyg.OrbitalNetwork` took four arguments for its radial functions in place of a plan, and
:class:`~equireann_pyg.EquiREANN` two flags for variants that are networks of other plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from equireann_pyg.nn import Density, ElementRadial, LastReadout, Local, PairRadial, Shared

Recipe = dict[str, Any]
"""``class_path`` and ``init_args`` of a class, with recipes for the modules among its arguments."""

RADIAL = {"num_radial": "num_radial", "radial_width": "width", "radial_envelope": "envelope"}
"""Arguments of plans of radial functions by their earlier names."""


def present_network(recipe: Recipe) -> Recipe:
    """Recipe of a general network: one plan of radial functions.

    Args:
        recipe: of a class with the arguments of :class:`~equireann_pyg.OrbitalNetwork`, of this version or an earlier one.
    """
    rest = dict(recipe["init_args"])
    if not rest.keys() & {"pair_radial", *RADIAL}:
        return recipe
    kind = PairRadial if rest.pop("pair_radial", True) else ElementRadial
    radial = {name: rest.pop(earlier) for earlier, name in RADIAL.items() if earlier in rest}
    return {**recipe, "init_args": {**rest, "radial": recipe_of(kind, **radial)}}


def present_named(recipe: Recipe, rule: type, general: type) -> Recipe:
    """Recipe of a named network: without its flags, or that of the general network that such a variant is.

    Args:
        recipe: of a class with the arguments of :class:`~equireann_pyg.EquiREANN`, of this version or an earlier one.
        rule: its message rule.
        general: class of the general network.
    """
    rest = dict(recipe["init_args"])
    pairs, shared = rest.pop("pair_radial", True), rest.pop("share_contraction", False)
    if pairs and not shared:
        return {**recipe, "init_args": rest}
    if not recipe["class_path"].startswith("equireann_pyg."):
        return recipe  # a class of somebody else, which may be more than its plans
    descriptor, hidden = recipe_of(Density, **_taken(rest, ["num_density"])), _taken(rest, ["hidden_channels"])
    parts = {
        "descriptor": recipe_of(Shared, descriptor=descriptor) if shared else descriptor,
        "rule": recipe_of(rule, **hidden),
        "readout": recipe_of(LastReadout, **hidden),
        "radial": recipe_of(PairRadial if pairs else ElementRadial, **_taken(rest, ["num_radial"])),
    }
    return recipe_of(general, **({"num_iterations": 0} if rule is Local else {}), **rest, **parts)


def recipe_of(kind: type, **arguments: Any) -> Recipe:
    """Recipe of a class with arguments that are plain values or recipes."""
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _taken(arguments: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of some arguments that are there; they are removed."""
    return {name: arguments.pop(name) for name in names if name in arguments}
