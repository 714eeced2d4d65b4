"""Judges the facts about live topics that `nodes.topic_survey` collects. Needs no ROS.

Facts of a topic: its name, types, publishers, subscribers, pairs with incompatible QoS, and, of a
topic of a camera, what was heard. The latter are the number of messages and of different stamps,
rate_hz, size in px, encoding, frame_ids, and offset_s, the age of the last stamp. Of camera_info
they are also whether K is given, and what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .own_process import run_module
from .result import Result, error, ok, warning

Facts = Mapping[str, Any]

#: Types of images and of camera_info.
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

#: Rate of images under which tracks are lost and poses lag, Hz.
MIN_RATE_HZ = 8.0

#: Maximum age of a stamp, and the least: beyond them the clocks differ, s.
MAX_OFFSET_S = 2.0

#: Time that the process needs besides listening, s; a busy machine imports slowly.
EXTRA_S = 60.0

#: Endings of the topics of a camera's images, below the camera's name.
_IMAGE_ENDINGS = ("/compressed", "/theora", "/ffmpeg")

#: Endings of topics that are no camera's images: depth, which is often advertised and not sent, and
#: the pictures that `keypoint_detector` draws.
_NO_CAMERA = ("/compressedDepth", "/overlay", "/overlay/compressed")

_CALIBRATE = "emf-ros calibrate, then give its file to the camera's driver"


def survey(seconds: float) -> tuple[dict[str, Any], list[Result]]:
    """Run the survey in a process of its own.

    Args:
        seconds: of listening.

    Returns:
        the facts, empty where it failed; and what its failure means.
    """
    ended = run_module("nodes.topic_survey", "--seconds", str(seconds), timeout_s=seconds + EXTRA_S)
    if ended.code == 0:
        return json.loads(ended.out), []
    if "rmw_" in ended.errors:
        fix = "install the package of RMW_IMPLEMENTATION, or unset RMW_IMPLEMENTATION"
    else:
        fix = "source ROS 2 and the workspace again: source install/setup.bash"
    return {}, [error("middleware", f"a node does not start: {ended.reason}", fix)]


def judge(facts: Facts) -> list[Result]:
    """What the facts of a survey mean."""
    topics: Sequence[Facts] = facts["topics"]
    by_name = {topic["name"]: topic for topic in topics}
    results = [ok("middleware", facts["rmw"])]
    for topic in topics:
        results += _connections(topic, topics)
    images = [
        t
        for t in topics
        if t["types"][0] in IMAGES and t["publishers"] and is_of_a_camera(t["name"])
    ]
    # Without /clock the stamps are those of this machine's clock.
    simulated = bool(by_name.get("/clock", {}).get("publishers"))
    if not images:
        results.append(ok("images", "no node publishes images in this domain"))
    for topic in images:
        if topic["heard"] is not None:
            results += _image(topic, by_name.get(info_topic(topic["name"])), simulated)
        elif len(topic["types"]) == 1:
            results.append(
                warning(
                    topic["name"],
                    "was not checked: it is new, or there are too many topics of cameras",
                    "stop the drivers of other cameras, or disable transports, and run it again",
                )
            )
    return results


def is_of_a_camera(topic: str) -> bool:
    """Whether a topic of images or camera_info is looked at."""
    return not topic.endswith(_NO_CAMERA)


def info_topic(image: str) -> str:
    """The topic of camera_info beside a topic of images."""
    for ending in _IMAGE_ENDINGS:
        image = image.removesuffix(ending)
    return f"{image.rpartition('/')[0]}/camera_info"


def _connections(topic: Facts, topics: Sequence[Facts]) -> list[Result]:
    """Types, QoS, and publishers that are missing."""
    name, results = topic["name"], []
    if len(topic["types"]) > 1:
        results.append(
            error(
                name,
                f"has several types: {', '.join(topic['types'])}",
                "remap one of the topics: nodes of different types do not hear each other",
            )
        )
    for pair in topic["incompatible"]:
        results.append(
            error(
                name,
                f"{pair['subscriber']} hears nothing of {pair['publisher']}: {pair['reason']}",
                "give both the same QoS: a reliable, volatile publisher is heard by sensor-data "
                "subscribers, too",
            )
        )
    kind = topic["types"][0]
    of_ours = kind.startswith("emf_ros_msgs/") or kind in (*IMAGES, CAMERA_INFO)
    if of_ours and topic["subscribers"] and not topic["publishers"]:
        others = [t["name"] for t in topics if t["types"][0] == kind and t["publishers"]]
        results.append(
            warning(
                name,
                f"{', '.join(topic['subscribers'])} wait for it, and no node publishes it",
                f"remap it to one of {', '.join(others)}" if others else "start its publisher",
            )
        )
    return results


def _image(topic: Facts, info: Facts | None, simulated: bool) -> list[Result]:
    """A topic of images, with its camera_info."""
    name, heard = topic["name"], topic["heard"]
    if not heard["messages"]:
        return [_silent(topic)]
    size = heard["size"]
    shown = f"{size[0]}x{size[1]} {heard['encoding']}" if size else heard["encoding"]
    rate = heard["rate_hz"]
    results = [ok(name, f"{shown}, {rate:.1f} Hz" if rate else f"{shown}, one message")]
    if len(topic["publishers"]) > 1:
        results.append(
            warning(
                name,
                f"has {len(topic['publishers'])} publishers, whose images get mixed up: "
                f"{', '.join(topic['publishers'])}",
                "stop all but one, or give each a namespace",
            )
        )
    if rate and rate < MIN_RATE_HZ:
        results.append(
            warning(
                name,
                f"{rate:.1f} images a second are too few to follow people",
                "raise the rate in the driver, publish compressed images, or use a cable",
            )
        )
    if heard["frame_ids"] == [""]:
        results.append(
            warning(
                name,
                "frame_id is empty: RViz and TF cannot place the skeletons",
                "set frame_id of the driver to the camera's optical frame",
            )
        )
    results += _stamps(name, heard, simulated)
    if info is None or not info["publishers"]:
        results.append(
            warning(
                name,
                f"there is no {info_topic(name)}: poses have no position",
                f"{_CALIBRATE}, or set camera_info:=TOPIC, or fov_deg of video_source",
            )
        )
    elif info["heard"] is not None:
        results += _info(info, topic)
    return results


def _silent(topic: Facts) -> Result:
    return error(
        topic["name"],
        f"{', '.join(topic['publishers'])} publishes it, but no message arrived",
        "check the camera, and that Wi-Fi or a firewall lets large or multicast messages pass",
    )


def _stamps(name: str, heard: Facts, simulated: bool) -> list[Result]:
    if heard["messages"] > 2 and heard["stamps"] == 1:
        return [
            error(
                name,
                "all messages have the same stamp: they are refused",
                "make the driver set header.stamp",
            )
        ]
    offset_s = heard["offset_s"]
    if not simulated and abs(offset_s) > MAX_OFFSET_S:
        age = f"{offset_s:.1f} s {'old' if offset_s > 0 else 'ahead'}".replace("-", "")
        return [
            warning(
                name,
                f"the stamps are {age}: TF finds no transform for them",
                "set the clocks by chrony; of a bag: ros2 bag play --clock, and use_sim_time",
            )
        ]
    return []


def _info(info: Facts, image: Facts) -> list[Result]:
    """camera_info, alone and against its images."""
    name, heard, of_image = info["name"], info["heard"], image["heard"]
    if not heard["messages"]:
        return [_silent(info)]
    if heard["problem"]:
        return [error(name, heard["problem"], _CALIBRATE)]
    results = []
    if not heard["calibrated"]:
        results.append(error(name, "K is zero: poses have no position", _CALIBRATE))
    elif heard["doubts"]:
        results.append(warning(name, heard["doubts"], _CALIBRATE))
    size, image_size = heard["size"], of_image["size"]
    if image_size and size != image_size:
        own, wanted = ("x".join(map(str, pair)) for pair in (size, image_size))
        # The same view at another scale is converted; a crop is refused.
        scaled = abs(size[0] * image_size[1] - size[1] * image_size[0]) <= 0.01 * (
            size[0] * image_size[1]
        )
        results.append(
            (warning if scaled else error)(
                name,
                f"is for {own}, the images of {image['name']} are {wanted}",
                f"calibrate at {wanted}, or state the crop in roi and binning",
            )
        )
    if sorted(heard["frame_ids"]) != sorted(of_image["frame_ids"]):
        frames = (", ".join(map(repr, h["frame_ids"])) for h in (heard, of_image))
        results.append(
            warning(
                name,
                "frame_id is {}, that of the images {}".format(*frames),
                "give both the same frame_id, the camera's optical frame",
            )
        )
    if not results:
        model = heard["model"] or "no distortion model"
        results.append(ok(name, f"{size[0]}x{size[1]}, {model}, fits its images"))
    return results
