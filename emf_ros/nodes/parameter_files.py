"""Parameters files as ROS reads them, checked against the declarations. Needs no ROS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..io.plain_yaml import PlainYamlError, read_plain_yaml
from .param_specs import NodeParams, ParamError, ParamSpec

#: Key of the values in a section of a parameters file.
VALUES = "ros__parameters"

#: Parameters that ROS itself gives to every node.
BUILT_IN = ("use_sim_time", "start_type_description_service")

#: Beginning of the names of parameters that ROS itself declares.
QOS_OVERRIDES = "qos_overrides."

P = TypeVar("P", bound=NodeParams)


def read_sections(path: str) -> list[tuple[str, dict[str, Any]]]:
    """The sections of a parameters file: a pattern of node names, and values by name.

    Raises:
        ParamError: the file cannot be read, or is no parameters file.
    """
    try:
        content = read_plain_yaml(path)
    except PlainYamlError as error:
        raise ParamError(f"params_file {path}: {error}") from None
    found: list[tuple[str, dict[str, Any]]] = []

    def visit(name: str, inside: Any) -> None:
        if not isinstance(inside, Mapping):
            raise ParamError(f"params_file {path}: {name or 'the file'} has no {VALUES}")
        for key, value in inside.items():
            if key == VALUES:
                found.append((name, dict(_flat("", value or {}))))
            else:
                visit(f"{name}/{str(key).lstrip('/')}", value)

    visit("", content if content is not None else {})
    return found


def _flat(prefix: str, values: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        raise ParamError(f"{prefix.rstrip('.') or VALUES} in a parameters file holds no names")
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def values_for(full_name: str, files: Iterable[str]) -> dict[str, Any]:
    """What parameters files set for a node, as ROS reads them.

    ROS merges sections of one name where that name first appears. Of the sections that match the
    node the later ones win.

    Args:
        full_name: of the node, with its namespace.
        files: paths, in the order in which the node gets them.

    Raises:
        ParamError: a file cannot be read.
    """
    merged: dict[str, dict[str, Any]] = {}
    for path in files:
        for pattern, values in read_sections(path):
            merged.setdefault(pattern, {}).update(values)
    found: dict[str, Any] = {}
    for pattern, values in merged.items():
        if _matches(pattern, full_name):
            found.update(values)
    return found


def _matches(pattern: str, full_name: str) -> bool:
    """Whether a pattern with * (one part of a name) and ** (any number of parts) fits a name."""
    parts = []
    for part in pattern.strip("/").split("/"):
        if part == "**":
            parts.append("(/[^/]+)*")
        else:
            parts.append("/" + re.escape(part).replace(r"\*", "[^/]*"))
    return re.fullmatch("".join(parts), full_name) is not None


def read_parameters(node: type[P], full_name: str, files: Iterable[str]) -> P:
    """The parameters that a node will have, checked as the node itself checks them.

    Raises:
        ParamError: the node would refuse to start. The message names the parameter.
    """
    given = {
        name: value
        for name, value in values_for(full_name, files).items()
        if name not in BUILT_IN and not name.startswith(QOS_OVERRIDES)
    }
    node.refuse_unknown(given)
    specs, checked = node.specs(), {}
    for name, value in given.items():
        try:
            checked[name] = specs[name].check(_as_ros_reads(specs[name], value))
        except ParamError as error:
            raise ParamError(f"parameter '{name}' of {node.node} is {value!r}: {error}") from None
    return node(**checked)


def _as_ros_reads(spec: ParamSpec, value: Any) -> Any:
    """A value from YAML in the type that ROS reads."""
    if isinstance(value, str) and spec.kind is float and re.fullmatch(r"[-+]?\d+[eE]\d+", value):
        return float(value)
    whole = type(value) is int or (isinstance(value, list) and any(type(v) is int for v in value))
    if whole and spec.kind is float and not spec.words:
        raise ParamError("ROS takes no whole number here: write it with a decimal point")
    return value
