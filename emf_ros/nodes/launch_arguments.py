"""Launch arguments from the declarations of parameters. This module needs no ROS."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from .param_specs import NodeParams, ParamError, ParamSpec, default_text


def launch_arguments(nodes: Iterable[type[NodeParams]]) -> dict[str, str]:
    """The launch arguments of some nodes.

    Returns:
        descriptions by name. An argument of several nodes is passed to each of them.
    """
    found: dict[str, list[ParamSpec]] = {}
    for node in nodes:
        for spec in node.specs().values():
            if spec.launch:
                found.setdefault(spec.name, []).append(spec)
    return {name: _argument_text(specs) for name, specs in found.items()}


def _argument_text(specs: list[ParamSpec]) -> str:
    # All nodes accept the values of the narrowest range.
    narrow = min(specs, key=lambda spec: math.inf if spec.high is None else spec.high)
    values = "true, false" if narrow.kind is bool else narrow.allowed
    allowed = f" Allowed: {values}." if values else ""
    default = default_text(narrow)
    by_default = f" Default: {default}." if default != "''" else ""
    return f"{narrow.text}{allowed}{by_default}"


def given_parameters(node: type[NodeParams], arguments: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a node that are given as launch arguments.

    Args:
        node: the dataclass of its parameters.
        arguments: texts by name; an empty text is not given.

    Returns:
        values by name, lists as lists; only those that are given.

    Raises:
        ParamError: the node refuses a value; the message names node, argument and remedy.
    """
    given = {}
    for name, spec in node.specs().items():
        text = arguments.get(name, "") if spec.launch else ""
        if not text:
            continue
        try:
            value = spec.parse(text)
        except ParamError as error:
            raise ParamError(
                f"launch argument {name}:={text} is refused by {node.node}: {error}"
            ) from None
        given[name] = list(value) if spec.is_list else value
    return given


def ignored_arguments(nodes: Iterable[type[NodeParams]], names: Iterable[str]) -> list[str]:
    """Warnings about launch arguments that name a parameter but are ignored, one sentence each.

    Args:
        nodes: the nodes that are launched.
        names: the names of all given arguments.
    """
    given = list(names)
    found = []
    for node in nodes:
        specs = node.specs()
        for name in given:
            remedy = node.gone.get(name, "")
            if name in specs and not specs[name].launch:
                remedy = f"set {name} of {node.node} in params_file"
            sentence = f"{name} is no launch argument and is ignored: {remedy}"
            if remedy and sentence not in found:
                found.append(sentence)
    return found


def read_switch(name: str, text: str) -> bool:
    """Read a launch argument that is true or false.

    Raises:
        ParamError: it is neither; the message names the argument.
    """
    if text.lower() not in ("true", "false"):
        raise ParamError(f"launch argument {name}:={text} is refused: it must be true or false")
    return text.lower() == "true"


def write_parameters(
    values: Mapping[type[NodeParams], Mapping[str, Any]], namespace: str = "/**/**"
) -> str:
    """Write a temporary parameters file for one or several nodes.

    Each section names its node, because a node refuses the parameters of another node.

    Args:
        values: parameter values of each node, by name.
        namespace: namespace of the nodes, with wildcards. The default matches any namespace, as
            '/**' does, but users do not write it. ROS merges sections of the same name, and then a
            string does not replace a number (`lag`). ROS reads sections in the order in which their
            names first appear. So these values replace those of an earlier file.

    Returns:
        path of the file; an empty string if there are no values.
    """
    content = {
        f"{namespace}/{node.node}": {"ros__parameters": dict(own)}
        for node, own in values.items()
        if own
    }
    if not content:
        return ""
    with tempfile.NamedTemporaryFile("w", prefix="emf_ros_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(content, file)
    return file.name
