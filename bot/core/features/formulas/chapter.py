"""An entry of the catalogue, and a chapter of it: what a module of formulas enters its features into."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.features.expression import Node
from bot.core.features.inputs import INPUTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """An entry of the catalogue."""

    name: str
    unit: str
    source: str
    build: Callable[..., Node]
    defaults: dict[str, Any]  # the formula's parameters, in order
    column_param: str = ""  # the parameter that names an input whose unit it has; "" where it has its own

    def unit_of(self, params: Mapping[str, Any]) -> str:
        """Return the unit under these parameters: one of the book's columns has that column's own."""
        return INPUTS[params[self.column_param]].unit if self.column_param else self.unit


class Chapter(dict[str, Feature]):
    """Features of one kind by name, in the order they are written in."""

    def feature(
        self, *, unit: str, source: str, column_param: str = ""
    ) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
        """Enter a function under its name."""

        def enter(build: Callable[..., Node]) -> Callable[..., Node]:
            defaults = {name: p.default for name, p in inspect.signature(build).parameters.items()}
            name = build.__name__
            if name in self:
                raise ValueError(f"two features are named {name}")
            self[name] = Feature(
                name=name,
                unit=unit,
                source=source,
                build=build,
                defaults=defaults,
                column_param=column_param,
            )
            return build

        return enter
