"""Modules that remember how they were made: plans, which a network copies and builds, and whatever a file can rebuild."""

from __future__ import annotations

from copy import deepcopy
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, ClassVar

import torch

if TYPE_CHECKING:
    from typing_extensions import Self


class Plan(torch.nn.Module):
    """Base class of descriptors, rules, readouts, properties, envelopes, angular parts and networks.

    What a user makes of a descriptor, rule or readout is a plan that holds settings only; a network copies it for each
    iteration and builds the copies. A subclass keeps every constructor argument in an attribute of the same name; files, copies
    and ``repr`` follow from that.

    Attributes:
        given: constructor arguments that no attribute of their name holds, such as plans of which only built copies shall be
            parts of a network.
        unstored: constructor arguments that files of earlier versions do not have, and what stood in their place.
    """

    given: dict[str, Any]
    unstored: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.given = {}

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this module.

        Raises:
            TypeError: naming class and argument, if an argument has no attribute of its name, or no name.
        """
        found = {name: self.given.get(name, getattr(self, name, Parameter.empty)) for name in arguments(type(self))}
        for name, value in found.items():
            if value is Parameter.empty:
                raise TypeError(
                    f"{type(self).__name__} has no attribute of its argument `{name}`: set self.{name} in __init__"
                )
        return found

    def copies(self, *arguments: Any) -> list[Self]:
        """Built copies of this plan, one for each iteration.

        Args:
            *arguments: those of ``build``, and the number of copies.
        """
        *shape, count = arguments
        made = [deepcopy(self) for _ in range(count)]
        for part in made:
            part.build(*shape)  # type: ignore[operator]
        return made

    def reset_parameters(self) -> None:
        """Draw new parameters in all parts."""
        _reset(self)

    def extra_repr(self) -> str:
        try:
            config = self.config
        except TypeError:  # what cannot be stored can still be looked at
            return ""
        shown = {name: value for name, value in config.items() if not isinstance(value, torch.nn.Module)}
        return ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in shown.items()
        )


def arguments(kind: type) -> list[str]:
    """Names of the constructor arguments of a class.

    Raises:
        TypeError: if it takes arguments without names, ``*args`` or ``**kwargs``.
    """
    _, *parameters = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    if any(parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for parameter in parameters):
        raise TypeError(f"{kind.__name__} takes arguments without names: name all of them, so that they can be stored")
    return [parameter.name for parameter in parameters]


def _reset(module: torch.nn.Module) -> None:
    for part in module.children():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()  # type: ignore[operator]
        else:
            _reset(part)
