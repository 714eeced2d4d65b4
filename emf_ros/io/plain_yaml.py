"""Reads YAML files from others: plain values, of bounded size and depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

#: Maximum size of a file, bytes.
MAX_BYTES = 2_000_000
#: Maximum number of lists and mappings within each other.
MAX_DEPTH = 50


class PlainYamlError(ValueError):
    """A file that cannot be read as plain YAML; one line."""


class PlainLoader(yaml.SafeLoader):
    """Makes numbers, texts, dates, lists and mappings."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        return _compose_bounded(self, super().compose_node, parent, index)


class PlainTextLoader(yaml.BaseLoader):
    """Makes texts, lists and mappings."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        return _compose_bounded(self, super().compose_node, parent, index)


def _compose_bounded(
    loader: PlainLoader | PlainTextLoader,
    compose: Callable[[Any, Any], Any],
    parent: Any,
    index: Any,
) -> Any:
    """Refuse what lets a small file grow without bound."""
    if loader.check_event(yaml.AliasEvent):
        # Aliases of aliases stand for billions of values. ROS reads none either.
        raise PlainYamlError("aliases (*name) are not read: write the values out")
    loader.depth += 1
    if loader.depth > MAX_DEPTH:
        raise PlainYamlError(f"there are over {MAX_DEPTH} levels of lists and mappings in it")
    node = compose(parent, index)
    loader.depth -= 1
    return node


def read_plain_yaml(path: str | Path) -> Any:
    """The values in a YAML file; None for an empty one.

    Raises:
        PlainYamlError: it cannot be read, is too large, or is no plain YAML.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PlainYamlError(f"it is larger than {MAX_BYTES / 1e6:g} MB")
        text = data.decode("utf-8")
    except OSError as error:
        raise PlainYamlError(error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise PlainYamlError(f"it is no YAML: {error}") from None
    return parse_plain_yaml(text)


def parse_plain_yaml(text: str) -> Any:
    """The values in a text; None for an empty one.

    Raises:
        PlainYamlError: it is no plain YAML.
    """
    try:
        return yaml.load(text, PlainLoader)
    except PlainYamlError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError) as error:
        # PyYAML lets the ValueError of an impossible date or number through.
        raise PlainYamlError(f"it is no YAML: {' '.join(str(error).split())}") from None
