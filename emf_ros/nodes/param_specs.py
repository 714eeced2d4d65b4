"""Declarations of parameters, and the check of their values. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import yaml

from ..io.plain_yaml import PlainYamlError, parse_plain_yaml

_METADATA = "emf_ros"


class ParamError(ValueError):
    """The value of a parameter is refused. The message names the allowed values."""


@dataclass(frozen=True)
class ParamSpec:
    """The declaration of one parameter.

    Attributes:
        name, default: as ROS knows them.
        kind: bool, int, float or str; of a list, the type of its elements.
        is_list: whether the value is a list, a tuple in Python.
        description: one imperative sentence.
        unit: of a number; empty where it has none.
        zero: the meaning of 0; empty where 0 is an ordinary value or out of range.
        low, high: inclusive range of a number.
        choices: the allowed texts.
        words: texts that are allowed instead of a number.
        whole_numbers: whether a text may be given as a whole number, as in `source:=0`.
        launch: whether it is a launch argument.
        advanced: whether most users leave it at its default.
        live: whether it may be changed while the node is configured; otherwise `configure` reads
            it.
    """

    name: str
    default: Any
    kind: type
    is_list: bool
    description: str
    unit: str = ""
    zero: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    whole_numbers: bool = False
    launch: bool = False
    advanced: bool = False
    live: bool = False

    @property
    def text(self) -> str:
        """Description, unit and the meaning of 0, in one line."""
        unit = f" Unit: {self.unit}." if self.unit else ""
        zero = f" 0: {self.zero}." if self.zero else ""
        return self.description + unit + zero

    @property
    def allowed(self) -> str:
        """The allowed values, in words; empty where every value of the type is allowed."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None or self.high is None:
            return ""
        return " or ".join([f"{self.low:g} to {self.high:g}", *self.words])

    def check(self, value: Any) -> Any:
        """Check a value.

        Args:
            value: as ROS or YAML gives it.

        Returns:
            The value in the type of the dataclass's field.

        Raises:
            ParamError: the value is refused.
        """
        if self.is_list:
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ParamError("it must be a list")
            return tuple(self._check_one(element) for element in value)
        return self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        if self.words and value in self.words:
            return value
        if self.kind is str:
            if self.whole_numbers and type(value) is int:
                return str(value)
            if not isinstance(value, str):
                raise ParamError(f"it must be text; quote it: {self.name}:='\"{value}\"'")
            if self.choices and value not in self.choices:
                raise ParamError(f"it must be one of {', '.join(self.choices)}")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ParamError("it must be true or false")
            return value
        if type(value) is not int and (self.kind is int or type(value) is not float):
            name = "a whole number" if self.kind is int else "a number"
            raise ParamError(f"it must be {' or '.join([name, *map(repr, self.words)])}")
        # NaN is in no range.
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not low <= value <= high:
            raise ParamError(f"it must be in {low:g}..{high:g}")
        return self.kind(value)

    def parse(self, text: str) -> Any:
        """Read a value from a text, as on a command line.

        Returns:
            As `check`.

        Raises:
            ParamError: the value is refused.
        """
        if self.kind is str and not self.is_list:
            return self.check(text)
        try:
            value = parse_plain_yaml(text)
        except PlainYamlError:
            value = text
        return self.check([value] if self.is_list and not isinstance(value, list) else value)


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    zero: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    whole_numbers: bool = False,
    launch: bool = False,
    advanced: bool = False,
    live: bool = False,
) -> Any:
    """A field of a dataclass of parameters. The arguments are those of `ParamSpec`."""
    given = dict(locals())
    return field(default=given.pop("default"), metadata={_METADATA: given})


@dataclass(frozen=True)
class NodeParams:
    """Parameters of a node.

    Attributes:
        node: name of the node.
        gone: remedies by name of a parameter of older versions.
        autostart: of all nodes.
    """

    node: ClassVar[str]
    gone: ClassVar[Mapping[str, str]] = {}

    autostart: bool = param(
        True,
        "Configure and activate the node at its start; otherwise a lifecycle manager does so.",
        launch=True,
    )

    @classmethod
    def specs(cls) -> dict[str, ParamSpec]:
        """The parameters by name, those of the node before those of all nodes."""
        hints = get_type_hints(cls)
        shared = {f.name for f in fields(NodeParams)}
        own_first = sorted(fields(cls), key=lambda f: f.name in shared)
        return {f.name: _spec(f, hints[f.name]) for f in own_first}

    @classmethod
    def refuse_unknown(cls, names: Iterable[str]) -> None:
        """Refuse names that the node does not have.

        Raises:
            ParamError: names the first such parameter, and the remedy.
        """
        known = [f.name for f in fields(cls)]
        for name in names:
            if name in cls.gone:
                raise ParamError(f"parameter '{name}' no longer exists: {cls.gone[name]}")
            if name not in known:
                raise ParamError(f"unknown parameter '{name}'; this node has: {', '.join(known)}")


def _spec(declared: Field, hint: Any) -> ParamSpec:
    is_list = get_origin(hint) is tuple
    # The hint is `int`, `int | str` for a number with words, or `tuple[int, ...]` for a list.
    kind = (get_args(hint) or (hint,))[0]
    return ParamSpec(
        name=declared.name,
        default=declared.default,
        kind=kind,
        is_list=is_list,
        **declared.metadata[_METADATA],
    )


def default_text(spec: ParamSpec) -> str:
    """A parameter's default, as YAML on one line."""
    default = list(spec.default) if spec.is_list else spec.default
    text = yaml.safe_dump(default, default_flow_style=True, width=math.inf)
    return text.replace("\n...", "").strip()
