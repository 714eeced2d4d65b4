"""The rule of ROS for names of topics, cameras and namespaces on a command line. Needs no ROS.

It is the one for remappings, which is narrower than that for topics: "a__b" is refused.
"""

from __future__ import annotations

import re

#: The rule in words, for messages.
ALLOWED = "letters, digits and single _, in parts joined by single /, no part with a digit in front"

#: A name that stands under a namespace.
_RELATIVE = r"(?!.*__)[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*"


def is_relative_name(name: str) -> bool:
    """Whether a name can stand under a namespace, or be one."""
    return re.fullmatch(_RELATIVE, name) is not None


def is_topic_name(name: str) -> bool:
    """Whether a name can be that of a topic: relative, absolute, or private as "~/image" is."""
    return re.fullmatch(f"(~?/)?{_RELATIVE}", name) is not None
