"""The plan of the model by the arguments of version 0.1, as one configuration and option after the other adds to it."""

from __future__ import annotations

from typing import Any

from equireann_pyg import models
from equireann_pyg.models.earlier import RADIAL

FLAGS = {"pair_radial": True, "share_contraction": False}
"""Earlier flags of the models, with their values by default."""

PARTS = ("descriptor", "rule", "readout", "radial")
"""What only the general network lets one choose."""

Added = tuple[Any, dict[str, str]]
"""What is added in present terms, and what earlier arguments in it are called now."""


class PlanSoFar:
    """Class and arguments of the model, as far as they have been said.

    Args:
        name: last name of the class of the model.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.ours = name in models.__all__
        self.arguments: dict[str, Any] = {}  # in earlier terms

    def add(self, plan: Any) -> Added:
        """Put what is said of the model next into present terms.

        Args:
            plan: name of a class, or ``class_path`` and ``init_args``, one of them or both.

        Raises:
            ValueError: if a named model with flags shall have parts of the general one.
        """
        given = {"class_path": plan} if isinstance(plan, str) else plan
        if not isinstance(given, dict):
            return plan, {}
        before = self._flagged()
        if isinstance(path := given.get("class_path"), str):
            self._choose(path)
        arguments = given.get("init_args") or {}
        if not self.ours or not isinstance(arguments, dict):
            return plan, {}
        return (
            self._general(given, arguments) if self.name == "OrbitalNetwork" else self._named(plan, arguments, before)
        )

    def _choose(self, path: str) -> None:
        package, _, name = path.rpartition(".")
        ours = package.partition(".")[0] in ("", "equireann_pyg") and name in models.__all__
        if not ours or ("OrbitalNetwork" in (name, self.name) and name != self.name):
            self.arguments = {}
        self.name, self.ours = name, ours

    def _flagged(self) -> bool:
        """Whether a named model is a variant that is a general one now."""
        named = self.ours and self.name != "OrbitalNetwork"
        return named and any(self.arguments.get(flag, value) != value for flag, value in FLAGS.items())

    def _general(self, given: dict[str, Any], arguments: dict[str, Any]) -> Added:
        """A general network: earlier arguments of its radial functions are those of their plan, which is written whole."""
        rest = dict(arguments)
        gone = [name for name in arguments if name in ("pair_radial", *RADIAL)]
        pairs = {f"{name} of {self.name}": f"radial.init_args.{RADIAL[name]}" for name in gone if name in RADIAL}
        radial: dict[str, Any] = {}
        if pairs:
            radial["init_args"] = {RADIAL[name]: rest.pop(name) for name in gone if name in RADIAL}
        if "pair_radial" in rest:
            radial["class_path"] = "PairRadial" if rest.pop("pair_radial") else "ElementRadial"
            pairs[f"pair_radial of {self.name}"] = f"radial {radial['class_path']}"
        if not gone and "radial" in rest and rest["radial"] is None:
            self.arguments.pop("radial", None)
        elif gone or "radial" in rest:
            whole = self.arguments["radial"] = _over(_over(self.arguments.get("radial"), radial), rest.get("radial"))
            rest["radial"] = {"class_path": "PairRadial", **whole}
        return ({**given, "init_args": rest} if gone else given), pairs

    def _named(self, plan: Any, arguments: dict[str, Any], before: bool) -> Added:
        """A model of one's own name; the whole of it where it is, or was, a general one."""
        self.arguments = _merged(self.arguments, arguments)
        if not before and not self._flagged():
            kept = {name: value for name, value in arguments.items() if name not in FLAGS}
            gone = [name for name in arguments if name in FLAGS]
            return {**plan, "init_args": kept} if gone else plan, self._pairs(gone, ["the only choice"])
        if self._flagged() and (parts := [name for name in PARTS if name in self.arguments]):
            raise ValueError(
                f"{self.name} with pair_radial or share_contraction has no {' and no '.join(parts)}: make it of "
                "OrbitalNetwork, with the plan Shared(Density) of a descriptor, or ElementRadial of radial functions"
            )
        full = {"class_path": f"equireann_pyg.models.{self.name}", "init_args": self.arguments}
        present = getattr(models, self.name).upgraded(full)
        gone = [name for name in arguments if name not in present["init_args"]]
        return present, self._pairs(gone, [name for name in PARTS if name in present["init_args"]])

    def _pairs(self, gone: list[str], made: list[str]) -> dict[str, str]:
        return {f"{' and '.join(gone)} of {self.name}": " and ".join(made) or "the only choice"} if gone else {}


def _over(before: Any, new: Any) -> dict[str, Any]:
    """A plan of radial functions over an earlier one, whose arguments stay, since all classes share them."""
    plans = [{"class_path": plan} if isinstance(plan, str) else plan or {} for plan in (before, new)]
    inner = _merged(*(plan.get("init_args") or {} for plan in plans))
    return {**plans[0], **plans[1], **({"init_args": inner} if inner else {})}


def _merged(before: Any, new: Any) -> Any:
    """Arguments over earlier ones; those of a plan stay as long as its class does."""
    if isinstance(before, str) and isinstance(new, dict):
        before = {"class_path": before}
    if not (isinstance(before, dict) and isinstance(new, dict)):
        return new
    names = [str(plan.get("class_path", "")).rpartition(".")[2] for plan in (before, new)]
    if names[1] and names[0] != names[1]:
        return new
    return {**before, **{name: _merged(before.get(name), value) for name, value in new.items()}}
