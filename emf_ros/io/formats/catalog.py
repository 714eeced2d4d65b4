"""The table of file formats. Reading, writing, help, the documentation and errors come from it.

It imports nothing, so that a command's help is fast.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        suffix: ending of its files.
        name: of the format.
        module: in this package; it has `read(path) -> Recording` where `reads` is set, and
            `write(recording, path) -> notes` where `writes` is set.
        reads, writes: whether recordings are read from it and written to it.
        one_person: whether a file holds one person. Then a recording of several makes several.
        packages: modules that it needs.
        pip: the packages on PyPI that have them. The extras of setup.py would not do: pip knows
            none where colcon has installed emf_ros.
        holds: what is in it.
    """

    suffix: str
    name: str
    module: str
    reads: bool
    writes: bool
    one_person: bool
    packages: tuple[str, ...]
    pip: str
    holds: str


_PEOPLE, _PERSON = False, True
_ALL, _JOINTS = "everything", "3D joints"
_MESSAGES = "keypoints, skeletons, intrinsics, markers"
_VIEW = "keypoints, skeletons, intrinsics"

#: The formats, in the order of the documentation.
FORMATS: tuple[Format, ...] = (
    Format(".npz", "npz", "npz", True, True, _PEOPLE, (), "", _ALL),
    Format(".csv", "CSV", "csv_table", True, True, _PEOPLE, (), "", _ALL),
    Format(".parquet", "Parquet", "parquet", True, True, _PEOPLE, ("pyarrow",), "pyarrow", _ALL),
    Format(
        ".mcap",
        "MCAP",
        "mcap_log",
        True,
        True,
        _PEOPLE,
        ("mcap", "rosbags"),
        "mcap rosbags",
        _MESSAGES,
    ),
    Format(".bvh", "BVH", "bvh", True, True, _PERSON, (), "", "rotations of bones"),
    Format(".trc", "TRC", "trc", True, True, _PERSON, (), "", _JOINTS),
    Format(".c3d", "C3D", "c3d", True, True, _PERSON, ("ezc3d",), "ezc3d", _JOINTS),
    Format(".rrd", "rerun", "rrd", False, True, _PEOPLE, ("rerun",), "rerun-sdk", _VIEW),
)

#: Endings of the recordings that are read, and of those that are written.
READABLE = tuple(f.suffix for f in FORMATS if f.reads)
WRITABLE = tuple(f.suffix for f in FORMATS if f.writes)
