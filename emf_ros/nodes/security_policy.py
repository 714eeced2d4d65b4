"""Writes a policy for SROS2: the topics and services of the nodes that a launch starts, no others.

    ros2 run emf_ros security_policy namespace:=robot image:=/camera/image_raw > emf_ros.policy.xml

The arguments are those of lift.launch.py. This module needs no ROS.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from .launch_arguments import lift_arguments
from .launch_plan import Process, plan
from .param_specs import ParamError
from .parameter_files import P, read_parameters, values_for
from .params import (
    KeypointDetectorParams,
    SkeletonLifterParams,
    SkeletonViewerParams,
    VideoSourceParams,
)

#: Version of sros2's policy format.
FORMAT_VERSION = "0.2.0"

#: Topics that every node publishes.
_PUBLISHED = ("/diagnostics", "/parameter_events", "/rosout", "~/transition_event")

#: Services of every node: those of parameters, of the life cycle and ours.
_SERVICES = (
    *("~/describe_parameters", "~/get_parameter_types", "~/get_parameters"),
    *("~/list_parameters", "~/set_parameters", "~/set_parameters_atomically"),
    *("~/change_state", "~/get_available_states", "~/get_available_transitions"),
    *("~/get_state", "~/get_transition_graph"),
    *("~/enable", "~/reset"),
)

#: Topics of the lifter, for each camera.
_OUTPUTS = ("skeletons", "body_states", "markers", "poses", "joint_points", "joint_angles")

#: Topics of REP-155; the names of the bodies are not known beforehand.
_HRI_OUTPUTS = ("humans/bodies/tracked", "humans/bodies/*/*")

#: Services of nodes of some ROS releases only; Humble has none of them.
RELEASE_SERVICES = ("~/get_type_description",)


@dataclass(frozen=True)
class NodeAccess:
    """What one node opens. Names are full; ~ stands for the node.

    Attributes:
        name: of the node.
        namespace: of the node, with a leading slash.
        publishes, subscribes: names of topics, sorted.
        serves: names of services, sorted.
    """

    name: str
    namespace: str
    publishes: tuple[str, ...]
    subscribes: tuple[str, ...]
    serves: tuple[str, ...]


def access(process: Process) -> list[NodeAccess]:
    """What the nodes of a process open.

    Raises:
        ParamError: a parameters file is refused.
    """
    space = "/" + process.namespace
    remapped = dict(process.remappings)

    def full(name: str) -> str:
        name = remapped.get(name, name)
        return name if name[0] in "/~" else f"{space.rstrip('/')}/{name}"

    def node(
        name: str, publishes: Sequence[str], subscribes: Sequence[str], serves: Sequence[str] = ()
    ) -> NodeAccess:
        own_name = f"{space.rstrip('/')}/{name}"
        if values_for(own_name, process.parameters).get("use_sim_time"):
            subscribes = [*subscribes, "/clock"]
        return NodeAccess(
            name,
            space,
            tuple(sorted(map(full, (*publishes, *_PUBLISHED)))),
            tuple(sorted(map(full, subscribes))),
            tuple(sorted((*serves, *_SERVICES, *RELEASE_SERVICES))),
        )

    def parameters_of(kind: type[P]) -> P:
        return read_parameters(kind, f"{space.rstrip('/')}/{kind.node}", process.parameters)

    composed = process.executable == "composed"
    with_camera = "--camera" in process.options
    found = []
    if with_camera:
        found.append(node(VideoSourceParams.node, ["image", "camera_info"], []))
    if composed or process.executable == KeypointDetectorParams.node:
        detector = parameters_of(KeypointDetectorParams)
        compressed = detector.image_transport == "compressed"
        images = ["image/compressed" if compressed else "image"]
        published = ["keypoints", "overlay", "overlay/compressed", "keypoint_layout"]
        found.append(node(KeypointDetectorParams.node, published, [] if with_camera else images))
    if composed or process.executable == SkeletonLifterParams.node:
        lifter = parameters_of(SkeletonLifterParams)
        published, heard = ["layout"], []
        for camera in lifter.camera_names():
            inside = f"{camera}/" if camera else ""
            published += [inside + name for name in _OUTPUTS]
            published += [inside + name for name in _HRI_OUTPUTS] if lifter.hri else []
            names = [] if composed else _keypoint_topics(lifter.keypoints_type)
            names += [] if with_camera else ["camera_info"]
            names += ["depth"] if lifter.use_depth else []
            heard += [inside + name for name in names]
        published += ["/tf"] if lifter.publish_tf or lifter.hri else []
        heard += ["/tf", "/tf_static"] if lifter.uses_tf else []
        found.append(node(SkeletonLifterParams.node, published, heard, ["~/set_person_height"]))
    if process.executable == SkeletonViewerParams.node:
        viewer = parameters_of(SkeletonViewerParams)
        heard = ["skeletons", "camera_info", "image", "overlay/compressed"]
        heard += _keypoint_topics(viewer.keypoints_type)
        # Where skeletons are in a fixed frame, it places the camera by /tf.
        heard += ["/diagnostics", "/tf", "/tf_static"]
        found.append(node(SkeletonViewerParams.node, [], heard))
    return found


def _keypoint_topics(keypoints_type: str) -> list[str]:
    if keypoints_type != "hri_msgs":
        return ["keypoints"]
    # The names of the bodies are not known beforehand.
    return ["humans/bodies/tracked", "humans/bodies/*/skeleton2d"]


def policy(processes: Sequence[Process]) -> str:
    """The policy for these processes, as text of sros2's XML format.

    Raises:
        ParamError: a parameters file is refused.
    """
    root = ElementTree.Element("policy", version=FORMAT_VERSION)
    enclaves = ElementTree.SubElement(root, "enclaves")
    for process in processes:
        enclave = ElementTree.SubElement(enclaves, "enclave", path=process.enclave)
        profiles = ElementTree.SubElement(enclave, "profiles")
        for node in access(process):
            profile = ElementTree.SubElement(profiles, "profile", ns=node.namespace, node=node.name)
            for tag, item, rule, names in (
                ("topics", "topic", "publish", node.publishes),
                ("topics", "topic", "subscribe", node.subscribes),
                ("services", "service", "reply", node.serves),
            ):
                if names:
                    rules = ElementTree.SubElement(profile, tag, {rule: "ALLOW"})
                    for name in names:
                        ElementTree.SubElement(rules, item).text = name
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def read_arguments(words: Sequence[str]) -> Mapping[str, str]:
    """Launch arguments of the form NAME:=VALUE, over the launch file's defaults.

    Raises:
        ParamError: a word has another form, or its name is unknown.
    """
    known = lift_arguments()
    given = {name: argument.default for name, argument in known.items()}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator:
            raise ParamError(f"{word!r} has not the form NAME:=VALUE")
        if name not in known:
            raise ParamError(f"lift.launch.py has no argument {name!r}")
        given[name] = value
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Print the policy for a launch; the exit code."""
    words = sys.argv[1:] if words is None else words
    if any(word in ("-h", "--help") for word in words):
        print(__doc__)
        return 0
    try:
        print(policy(plan(read_arguments(words)).processes), end="")
    except ParamError as error:
        print(f"security_policy: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
