"""Bags of ROS 2 (a folder with metadata.yaml, .mcap or .db3), read without ROS."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from .bag_error import BagError
from .bag_types import message_types, types_of
from .one_line import one_line

__all__ = [
    "BAG_FILES",
    "BAG_SUFFIXES",
    "METADATA",
    "BagError",
    "BagReader",
    "is_bag",
    "message_types",
    "stamp_ns",
]

#: Endings of the files of a bag.
BAG_SUFFIXES = (".mcap", ".db3")
#: Name of the file that makes a folder a bag.
METADATA = "metadata.yaml"
#: Endings of the files of a bag in its folder, which may be compressed.
BAG_FILES = (*BAG_SUFFIXES, ".zstd", METADATA)


def is_bag(path: str | Path) -> bool:
    """Whether a path is that of a bag: by the ending of a file, or by what a folder holds."""
    path = Path(path)
    return path.suffix.lower() in BAG_SUFFIXES or (path / METADATA).is_file()


class BagReader:
    """The messages of a bag; a context manager.

    Args:
        path: of the folder, or of one file.

    Attributes:
        topics: the type of each topic, such as 'sensor_msgs/msg/Image'.
        counts: number of the messages of each topic.

    Raises:
        BagError: it cannot be read, or a package is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if importlib.util.find_spec("rosbags") is None:
            raise BagError(
                f"{path}: a bag needs rosbags, which is not installed; pip install rosbags"
            )
        if not self._path.exists():
            raise BagError(f"there is no bag {path}")
        from rosbags.rosbag2 import Reader

        try:
            self._reader = Reader(self._path)
            self._reader.open()
        except Exception as error:  # a damaged file leads to errors of any type
            raise BagError(self._why(error)) from None
        self._open = True
        self._stores: dict[str, Any] = {}
        self.topics = {c.topic: str(c.msgtype) for c in self._reader.connections}
        self.counts = {name: int(info.msgcount) for name, info in self._reader.topics.items()}

    def of_type(self, *types: str) -> list[str]:
        """The topics of these types, in the order of their names."""
        return sorted(topic for topic, kind in self.topics.items() if kind in types)

    def choose(self, topic: str, *types: str, by: str = "--topic") -> str:
        """The topic that is asked for, or the only one of these types.

        Args:
            topic: empty to choose.
            types: that can be used.
            by: what the user chooses a topic by.

        Raises:
            BagError: there is none, or there are several and none is asked for.
        """
        found = self.of_type(*types)
        short = " or ".join(dict.fromkeys(kind.rpartition("/")[2] for kind in types))
        if topic:
            if topic in found or f"/{topic}" in found:
                return topic if topic in found else f"/{topic}"
            raise BagError(
                f"{self._path} has no topic {topic} of {short}; it has {', '.join(found) or 'none'}"
            )
        if not found:
            raise BagError(
                f"{self._path} has no topic of {short}; its topics: "
                + (", ".join(sorted(self.topics)) or "none")
            )
        if len(found) > 1:
            raise BagError(
                f"{self._path} has several topics of {short}; choose one by {by}: "
                + ", ".join(found)
            )
        return found[0]

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Topic, time of the recording in ns, and message, in the order of the times.

        Raises:
            BagError: the bag is damaged.
        """
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        try:
            stores = {c.topic: self._store_of(c) for c in connections}
            for connection, time_ns, data in self._reader.messages(connections=connections):
                message = stores[connection.topic].deserialize_cdr(data, connection.msgtype)
                yield connection.topic, time_ns, message
        except Exception as error:  # a damaged file leads to errors of any type
            raise BagError(self._why(error)) from None

    def _store_of(self, connection: Any) -> Any:
        """The types of the messages of a connection; made once for each type."""
        kind = connection.msgtype
        if kind not in self._stores:
            self._stores[kind] = types_of(connection)
        return self._stores[kind]

    def close(self) -> None:
        """Close the files."""
        if self._open:
            self._open = False
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _why(self, error: Exception) -> str:
        why = f"cannot read the bag {self._path}: {one_line(error)}"
        if isinstance(error, BagError):
            return why
        return (
            f"{why}; where the recorder was killed, `mcap recover` or `ros2 bag reindex` may "
            "repair it"
        )


def namespace_of(topic: str) -> str:
    """The namespace of a topic: '/front' of '/front/image'."""
    return topic.rpartition("/")[0]


def stamp_ns(header: Any) -> int:
    """The stamp of a header of a message, ns."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
