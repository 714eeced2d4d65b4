"""The types of a bag's messages: as the bag defines them, or else as this version does.

A bag brings the definitions of its messages, and rosbags makes code of them. So they are checked
before: a short text could ask for code of any length.
"""

from __future__ import annotations

import functools
from typing import Any

from .bag_error import BagError
from .paths import share_folder

#: Maximum length of the definition of a type with all that it contains, characters.
MAX_CHARACTERS = 200_000
#: Maximum length of an array of a fixed length. The longest that is read has 36 numbers.
MAX_ARRAY = 1000

#: The fields that are read of our types. A bag of another version may lack others.
_FIELDS = {
    "Skeleton2DArray": ("header", "layout", "image_width", "image_height", "skeletons"),
    "Skeleton2D": ("track_id", "keypoints"),
    "Keypoint2D": ("x", "y", "score"),
    "Skeleton3DArray": ("header", "skeletons"),
    "Skeleton3D": ("track_id", "tracking_state", "root_valid", "root", "joints"),
    "Joint3D": ("position", "stddev"),
}


@functools.cache
def message_types() -> Any:
    """A store of the types of common messages and of ours (rosbags' Typestore)."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for path in sorted(share_folder("emf_ros_msgs").glob("msg/*.msg")):
        types.update(get_types_from_msg(path.read_text("utf-8"), f"emf_ros_msgs/msg/{path.stem}"))
    store.register(types)
    return store


def types_of(connection: Any) -> Any:
    """A store of the types of the messages of a connection (rosbags' Connection).

    Raises:
        BagError: the definition is too long, or lacks a field that is read, or has it otherwise.
        Exception: it is damaged; rosbags' errors have no common base class.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_typestore

    kind, defined = connection.msgtype, connection.msgdef
    store = message_types()
    if defined.format is not MessageDefinitionFormat.NONE:
        if len(defined.data) > MAX_CHARACTERS:
            raise BagError(f"its definition of {kind} has over {MAX_CHARACTERS} characters")
        types = _parsed(kind, defined.data, defined.format is MessageDefinitionFormat.IDL)
        _check(kind, types)
        # For the usual definitions the code is made already.
        if any(
            store.fielddefs.get(name, ((), ()))[1] != fields for name, (_, fields) in types.items()
        ):
            store = get_typestore(Stores.EMPTY)
            store.register(types)
    if connection.digest and store.hash_rihs01(kind) != connection.digest:
        raise BagError(f"its definition of {kind} is not that of its messages: {_OTHER_VERSION}")
    return store


_OTHER_VERSION = "it was recorded with another version of the package"


def _parsed(kind: str, text: str, is_idl: bool) -> dict[str, Any]:
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if not is_idl:
        return dict(get_types_from_msg(text, kind))
    types: dict[str, Any] = {}
    for part in text.split("=" * 80 + "\n"):
        # Where there are several parts, each begins with a line with its name.
        types.update(get_types_from_idl(part.partition("\n")[2] if part[:4] == "IDL:" else part))
    return types


def _check(kind: str, types: dict[str, Any]) -> None:
    """Refuse long arrays, and fields that are not as this version reads them."""
    from rosbags.interfaces import Nodetype

    ours = message_types().fielddefs
    for name, (_, fields) in types.items():
        for field, (node, content) in fields:
            if node == Nodetype.ARRAY and content[1] > MAX_ARRAY:
                raise BagError(f"{name}.{field} of its {kind} is an array of {content[1]} values")
    for name in types.keys() & ours.keys():
        package, _, short = name.rpartition("/msg/")
        found = dict(types[name][1])
        for field, needed in ours[name][1]:
            read = _FIELDS.get(short, ()) if package == "emf_ros_msgs" else (field,)
            if field in read and found.get(field) != needed:
                what = "is of another type" if field in found else "is missing"
                raise BagError(f"{field} of its {name} {what}: {_OTHER_VERSION}")
