"""The files for RViz and Foxglove name topics that our nodes publish, and settings that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_launch_plan import plan

from emf_ros.nodes.security_policy import access

ROOT = Path(__file__).resolve().parents[1]

#: Properties of the displays by their class, as the source of rviz_default_plugins 14 has them.
TOPIC = {
    "Value": None,
    "Depth": None,
    "Durability Policy": {"Volatile", "Transient Local", "System Default"},
    "History Policy": {"Keep Last", "Keep All", "System Default"},
    "Reliability Policy": {"Reliable", "Best Effort", "System Default"},
}
DISPLAYS: dict[str, dict[str, Any]] = {
    "Grid": {
        **dict.fromkeys(("Cell Size", "Plane Cell Count", "Offset", "Alpha", "Color")),
        "Reference Frame": None,
        "Plane": {"XY", "XZ", "YZ"},
        "Line Style": None,
    },
    "Axes": dict.fromkeys(("Length", "Radius", "Reference Frame")),
    "MarkerArray": dict.fromkeys(("Namespaces", "Topic")),
    "PoseArray": {
        **dict.fromkeys(("Topic", "Arrow Length")),
        "Shape": {"Arrow (Flat)", "Arrow (3D)", "Axes"},
    },
    "PointCloud2": {
        **dict.fromkeys(("Topic", "Channel Name", "Autocompute Intensity Bounds", "Size (m)")),
        **dict.fromkeys(("Min Intensity", "Max Intensity")),
        "Color Transformer": {"Intensity", "AxisColor", "FlatColor", "RGB8", "RGBF32"},
        "Style": {"Points", "Squares", "Flat Squares", "Spheres", "Boxes", "Tiles"},
    },
    "Image": dict.fromkeys(("Topic",)),
    "TF": dict.fromkeys(("Show Names", "Show Axes", "Marker Scale")),
}
#: What a display of each class shows: the topics of this message.
SHOWN = {
    "MarkerArray": {"markers"},
    "PoseArray": {"poses"},
    "PointCloud2": {"joint_points"},
    "Image": {"overlay"},
}
#: Settings of the 3D panel of Foxglove, by `RendererConfig` of its source, and of a grid.
PANEL = {"cameraState", "followTf", "followMode", "scene", "transforms", "topics", "layers"}
PANEL |= {"publish", "imageMode"}
GRID = {"visible", "frameLocked", "label", "instanceId", "layerId", "frameId", "size", "order"}
GRID |= {"divisions", "lineWidth", "color", "position", "rotation"}
CAMERA = {"distance", "perspective", "phi", "target", "targetOffset", "targetOrientation"}
CAMERA |= {"thetaOffset", "fovy", "near", "far"}


def published(arguments: dict[str, str]) -> set[str]:
    """The topics that the nodes of a launch publish."""
    planned = plan(arguments)
    nodes = [node for process in planned.processes for node in access(process)]
    return {topic for node in nodes for topic in node.publishes}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"namespace": "robot"}, {"namespace": "robot", "cameras": "front,rear"}],
    ids=str,
)
def test_rviz_shows_topics_that_the_nodes_publish(arguments: dict[str, str]) -> None:
    planned = plan({**arguments, "rviz": "true"})
    assert planned.rviz is not None
    options = planned.rviz.options
    config = yaml.safe_load(Path(options[options.index("-d") + 1]).read_text())
    topics = published(arguments)
    shown = [d for d in config["Visualization Manager"]["Displays"] if "Topic" in d]
    assert len(shown) >= 4
    for display in shown:
        topic = display["Topic"]["Value"]
        assert topic in topics, topic
        assert topic.split("/")[-1] in SHOWN[display["Class"].split("/")[1]]


def test_rviz_knows_the_classes_and_properties_of_the_displays() -> None:
    config = yaml.safe_load((ROOT / "config" / "emf_ros.rviz").read_text())
    manager = config["Visualization Manager"]
    for display in manager["Displays"]:
        package, name = display["Class"].split("/")
        assert package == "rviz_default_plugins"
        check(display, {"Class": None, "Name": None, "Enabled": None, **DISPLAYS[name]})
        if "Topic" in display:
            check(display["Topic"], TOPIC)
    view = manager["Views"]["Current"]
    assert view["Class"] == "rviz_default_plugins/Orbit"
    check(
        view,
        dict.fromkeys(
            ("Class", "Name", "Distance", "Focal Point", "Pitch", "Yaw", "Target Frame", "Value")
        ),
    )


def check(given: dict[str, Any], known: dict[str, Any]) -> None:
    """Properties that RViz does not know are ignored by it in silence."""
    assert given.keys() <= known.keys(), given
    for key, value in given.items():
        assert known[key] is None or value in known[key], (key, value)


def test_rviz_in_a_fixed_frame_has_the_floor_of_that_frame(tmp_path: Path) -> None:
    planned = plan({"target_frame": "odom", "rviz": "true"})
    assert planned.rviz is not None
    options = planned.rviz.options
    assert options[options.index("-f") + 1] == "odom"
    config = yaml.safe_load(Path(options[options.index("-d") + 1]).read_text())
    (grid,) = [
        d for d in config["Visualization Manager"]["Displays"] if d["Class"].endswith("Grid")
    ]
    assert grid["Offset"] == {"X": 0, "Y": 0, "Z": 0} and grid["Plane"] == "XY"


def test_foxglove_shows_topics_and_fields_that_the_nodes_publish() -> None:
    from emf_ros_msgs.msg import Skeleton3DArray

    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    panels = layout["configById"]
    view, image = panels["3D!emf_ros"], panels["Image!emf_ros"]
    known = published({}) | {"/camera_info", "/diagnostics"}
    shown = {*view["topics"], *image["imageMode"].values()}
    shown |= {s["cameraInfoTopic"] for s in view["topics"].values() if "cameraInfoTopic" in s}
    shown.add(panels["DiagnosticSummary!emf_ros"]["topicToRender"])
    assert shown <= known and "/markers" in shown
    for path in panels["Plot!latency"]["paths"]:
        topic, field = path["value"].split(".")
        assert topic == "/skeletons" and topic in known
        assert field in Skeleton3DArray.get_fields_and_field_types()


def test_foxglove_knows_the_settings_of_the_layout() -> None:
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    view = layout["configById"]["3D!emf_ros"]
    assert view.keys() <= PANEL and view["cameraState"].keys() <= CAMERA
    for name, layer in view["layers"].items():
        assert layer["layerId"] == "foxglove.Grid" and layer["instanceId"] == name
        assert layer.keys() <= GRID
        # Of a frame that stands upright, like the view.
        assert layer["frameId"] == view["followTf"]

    def panels(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return panels(node["first"]) + panels(node["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
