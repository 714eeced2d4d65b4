"""Writes packages with the messages of other projects that the tests publish.

`hri_msgs` and `tf2_msgs` are on no package index. So the set-up makes packages of the messages, the
fields and the constants that emf_ros uses. Their names, types and order are the interface itself. A
node that has the real packages understands them: messages are matched by these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_STAMPED = ("std_msgs/Header header",)

#: Fields and constants by message, by package.
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "hri_msgs": {
        "IdsList": (*_STAMPED, "string[] ids"),
        "NormalizedPointOfInterest2D": ("float32 x", "float32 y", "float32 c"),
        "Skeleton2D": (*_STAMPED, "NormalizedPointOfInterest2D[18] skeleton"),
        "NormalizedRegionOfInterest2D": (
            *_STAMPED,
            *(f"float32 {name}" for name in ("xmin", "ymin", "xmax", "ymax", "c")),
        ),
        "BodyPosture": (
            *_STAMPED,
            *("uint8 STANDING=1", "uint8 SITTING=2", "uint8 CROUCHING=3", "uint8 LAYING=4"),
            *("uint8 OTHER=0", "uint8 posture"),
        ),
        "Gesture": (
            *_STAMPED,
            *("uint8 LEFT_HAND_RAISED=3", "uint8 RIGHT_HAND_RAISED=4"),
            *("uint8 BOTH_HANDS_RAISED=5", "uint8 WAVING=6", "uint8 OTHER=0", "uint8 gesture"),
        ),
    },
    "tf2_msgs": {"TFMessage": ("geometry_msgs/TransformStamped[] transforms",)},
}

_MANIFEST = """<package format="3">
  <name>{name}</name>
  <version>0.0.0</version>
  <description>The messages of {name} that emf_ros uses, for its tests.</description>
  <maintainer email="maintainers@emf-ros.invalid">emf_ros maintainers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <depend>std_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
_BUILD = """cmake_minimum_required(VERSION 3.16)
project({name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(std_msgs REQUIRED)
rosidl_generate_interfaces(${{PROJECT_NAME}} {files} DEPENDENCIES geometry_msgs std_msgs)
ament_package()
"""


def write_package(folder: Path, name: str, messages: Mapping[str, tuple[str, ...]]) -> None:
    """Write the source of a package of messages.

    Args:
        folder: of the package; is made.
        name: of the package.
        messages: fields and constants by message.
    """
    (folder / "msg").mkdir(parents=True, exist_ok=True)
    for message, fields in messages.items():
        text = "".join(f"{field}\n" for field in fields)
        (folder / "msg" / f"{message}.msg").write_text(text, encoding="utf-8")
    files = " ".join(f'"msg/{message}.msg"' for message in messages)
    build = _BUILD.format(name=name, files=files)
    (folder / "CMakeLists.txt").write_text(build, encoding="utf-8")
    (folder / "package.xml").write_text(_MANIFEST.format(name=name), encoding="utf-8")
