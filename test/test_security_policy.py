"""The policy for SROS2 against what running nodes open; and what else a node listens on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from inputs import write_clip
from ros_session import TIMEOUT_S, NodeProcess, poll, wait_for

from emf_ros.nodes.launch_plan import Process, plan
from emf_ros.nodes.param_specs import ParamError
from emf_ros.nodes.params import SkeletonViewerParams
from emf_ros.nodes.security_policy import (
    RELEASE_SERVICES,
    access,
    main,
    policy,
    read_arguments,
)
from emf_ros_msgs.msg import Skeleton3DArray

#: State of a listening socket in /proc/net/tcp.
LISTEN = "0A"


def plan_of(tmp_path: Path, *words: str, **lifter: Any) -> list[Process]:
    """The processes of a launch with these arguments, and these parameters of the lifter."""
    path = tmp_path / "extra.yaml"
    lines = [f"    {name}: {str(value).lower()}" for name, value in lifter.items()]
    path.write_text("/**/skeleton_lifter:\n  ros__parameters:\n" + "\n".join(lines) + "\n")
    more = [f"params_file:={path}"] if lifter else []
    return plan(read_arguments([*words, *more])).processes


def start(process: Process) -> NodeProcess:
    """The process as the launch file starts it."""
    options = list(process.options)
    for path in process.parameters:
        options += ["--ros-args", "--params-file", path, "--"]
    options += ["--ros-args", "--enclave", process.enclave, "--"]
    return NodeProcess(
        process.executable,
        "/" + process.namespace,
        remappings=tuple(f"{old}:={new}" for old, new in process.remappings),
        options=tuple(options),
    )


def opened(ros: Any, name: str, namespace: str) -> dict[str, set[str]]:
    """The topics and services that a running node has, with ~ for its name; empty for no node."""
    if not ros.has_node(f"{namespace}/{name}"):
        return {}
    own = f"{namespace.rstrip('/')}/{name}/"

    def names(query: Callable[..., list[tuple[str, list[str]]]]) -> set[str]:
        found = {full for full, _ in query(name, namespace)}
        return {full.replace(own, "~/", 1) if full.startswith(own) else full for full in found}

    return {
        "publishes": names(ros.node.get_publisher_names_and_types_by_node),
        "subscribes": names(ros.node.get_subscriber_names_and_types_by_node),
        "serves": names(ros.node.get_service_names_and_types_by_node) | set(RELEASE_SERVICES),
        "calls": names(ros.node.get_client_names_and_types_by_node),
    }


def listening_ports(pid: int) -> list[str]:
    """The TCP sockets on which a process listens, as in /proc/net/tcp."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == LISTEN and parts[9] in sockets:
                found.append(parts[1])
    return found


def test_the_policy_allows_what_running_nodes_open_and_no_more(ros: Any, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", [np.zeros((96, 160, 3), np.uint8)] * 30)
    processes = plan_of(
        tmp_path,
        *("namespace:=guarded/one", f"source:={video}", "loop:=true"),
    )
    processes += plan_of(
        tmp_path,
        *("namespace:=guarded/two", "cameras:=front", "image:=raw", "camera_info:=info"),
        *("use_sim_time:=true", "image_transport:=compressed"),
        use_depth=True,
    )
    # The lifter hears keypoints while somebody hears it.
    listener = ros.listen(Skeleton3DArray, "/guarded/two/front/skeletons")
    assert [process.enclave for process in processes] == [
        "/guarded/one/composed",
        "/guarded/two/front/keypoint_detector",
        "/guarded/two/skeleton_lifter",
    ]
    running = [start(process) for process in processes]
    try:
        for process, started in zip(processes, running, strict=True):
            for node in access(process):
                full_name = f"{node.namespace}/{node.name}"
                wait_for(lambda name=full_name: ros.has_node(name), full_name)
                allowed = {
                    "publishes": set(node.publishes),
                    "subscribes": set(node.subscribes),
                    "serves": set(node.serves),
                    "calls": set(),
                }
                found: dict[str, set[str]] = {}

                def is_as_allowed(n: Any = node, a: Any = allowed, f: Any = found) -> bool:
                    f.update(opened(ros, n.name, n.namespace))
                    return bool(f == a)

                poll(is_as_allowed, TIMEOUT_S)
                assert found == allowed, started.log
            # DDS has UDP and shared memory only.
            assert listening_ports(started.pid) == []
    finally:
        ros.unlisten(listener)
        for started in running:
            started.kill()


def test_the_viewer_hears_and_publishes_nothing_of_people(tmp_path: Path) -> None:
    *_, process = plan_of(tmp_path, "composed:=true", "viewer:=true", "image:=/cam/raw")
    (viewer,) = access(process)
    assert {"/cam/raw", "/skeletons", "/tf", "/tf_static"} <= set(viewer.subscribes)
    assert set(viewer.publishes) == {
        *("/diagnostics", "/parameter_events", "/rosout", "~/transition_event")
    }
    # A browser of another machine must be asked for.
    assert SkeletonViewerParams().host == "127.0.0.1"


def test_the_policy_names_each_enclave_node_and_name_as_sros2_reads_them(tmp_path: Path) -> None:
    root = ElementTree.fromstring(policy(plan_of(tmp_path, "composed:=true", "image:=/cam/raw")))
    assert root.tag == "policy" and root.get("version")
    (enclave,) = root.findall("enclaves/enclave")
    assert enclave.get("path") == "/composed"
    profiles = {profile.get("node"): profile for profile in enclave.findall("profiles/profile")}
    assert set(profiles) == {"keypoint_detector", "skeleton_lifter"}
    lifter = profiles["skeleton_lifter"]
    assert lifter.get("ns") == "/"

    def names(profile: ElementTree.Element, tag: str, rule: str) -> list[str | None]:
        return [item.text for item in profile.findall(f"{tag}[@{rule}='ALLOW']/*")]

    assert names(profiles["keypoint_detector"], "topics", "subscribe") == ["/cam/raw"]
    assert names(lifter, "topics", "subscribe") == ["/camera_info"]
    assert "/skeletons" in names(lifter, "topics", "publish")
    assert "/tf" not in names(lifter, "topics", "publish")
    assert "~/set_person_height" in names(lifter, "services", "reply")


def test_the_policy_for_third_party_keypoints_has_their_topics_and_no_detector(
    tmp_path: Path,
) -> None:
    (process,) = plan_of(tmp_path, "keypoints_type:=hri_msgs")
    (lifter,) = access(process)
    assert "/humans/bodies/*/skeleton2d" in lifter.subscribes
    assert "/tf" not in lifter.publishes
    (lifter,) = access(*plan_of(tmp_path, "lifter_only:=true", "publish_tf:=true"))
    assert "/tf" in lifter.publishes


@pytest.mark.parametrize("word", ["image", "no_argument:=1", "cameras:=1/2"])
def test_a_refused_argument_ends_the_policy_with_one_line(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    with pytest.raises(ParamError):
        plan(read_arguments([word]))
