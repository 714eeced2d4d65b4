"""Each node of the real graph is killed and started again, as the launch files do it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from inputs import write_clip
from lifter_process import by_id
from ros_session import Collector, stamp_ns, wait_for

SECOND = 1_000_000_000

#: The nodes of the graph, and their parameters.
GRAPH: dict[str, dict[str, Any]] = {
    "video_source": {"loop": True},
    "keypoint_detector": {"variant": "lite", "max_people": 2, "device": "cpu"},
    "skeleton_lifter": {"device": "cpu", "threads": 1},
}

#: Maximum lifetime of a marker, s: so long RViz shows the person of a killed lifter.
MAX_LIFETIME_S = 1.0


class Graph:
    """The graph on a looping clip, and all that it publishes."""

    def __init__(self, ros: Any, start: Any, diagnostics: Any, clip: Any) -> None:
        from visualization_msgs.msg import MarkerArray

        from emf_ros_msgs.msg import Skeleton3DArray

        self._ros, self._start = ros, start
        GRAPH["video_source"]["source"] = clip
        self.processes = {name: start(name, "/killed_nodes") for name in GRAPH}
        self.diagnostics = {name: diagnostics(f"/killed_nodes/{name}") for name in GRAPH}
        self.skeletons = ros.listen(Skeleton3DArray, "/killed_nodes/skeletons")
        self.markers = ros.listen(MarkerArray, "/killed_nodes/markers")
        self.wait_for_people(0)

    def wait_for_people(self, after_ns: int) -> Any:
        """The first message with a person of an image that was taken after a time."""
        return wait_for(lambda: self._first_after(after_ns), "a person")

    def _first_after(self, after_ns: int) -> Any:
        return next(
            (
                m
                for m in list(self.skeletons.messages)
                if stamp_ns(m) > after_ns and any(s.root_valid for s in m.skeletons)
            ),
            None,
        )

    def kill_and_start_again(self, name: str) -> int:
        """Kill a node and start it again; the time in between, ns."""
        self.processes[name].kill()
        killed_ns = time.time_ns()
        self.processes[name] = self._start(name, "/killed_nodes")
        return killed_ns

    def living(self) -> set[int]:
        """Ids of the people of the last message."""
        return set(by_id(self.skeletons.messages[-1]))

    def shown(self) -> set[int]:
        """Ids of the people that RViz shows."""
        return RViz(self.markers).people()

    def warnings_of_two_publishers(self) -> set[str]:
        """What the nodes have said so far about topics with two publishers."""
        return {
            f"{name}: {summary.message}"
            for name, said in self.diagnostics.items()
            for _, summary in said.all
            if "publishers on" in summary.message
        }


class RViz:
    """The markers that RViz shows until their lifetime ends: those that were not deleted.

    The lifetime counts where messages were lost, as this process did not run for a moment: one may
    have deleted markers.
    """

    def __init__(self, markers: Collector) -> None:
        self.shown: dict[tuple[str, int], Any] = {}
        for message in list(markers.messages):
            for marker in message.markers:
                if marker.action == marker.ADD:
                    self.shown[marker.ns, marker.id] = marker
                else:
                    assert marker.action == marker.DELETE
                    self.shown.pop((marker.ns, marker.id), None)
        newest_ns = max((stamp_ns(marker) for marker in self.shown.values()), default=0)
        if markers.missed:
            self.shown = {
                key: marker
                for key, marker in self.shown.items()
                if newest_ns - stamp_ns(marker) < MAX_LIFETIME_S * SECOND
            }

    def people(self) -> set[int]:
        return {int(ns.removeprefix("person_")) for ns, _ in self.shown if ns.startswith("person_")}


@pytest.fixture(scope="module")
def graph(ros, start_shared_node, diagnostics, demo_frames, tmp_path_factory) -> Graph:
    def start(name: str, namespace: str) -> Any:
        return start_shared_node(name, expect=False, namespace=namespace, **GRAPH[name])

    # Forwards and backwards, so that no person jumps.
    frames = [*demo_frames[::2], *demo_frames[::-2]]
    clip = write_clip(tmp_path_factory.mktemp("clip") / "people.mp4", frames, rate_hz=15.0)
    return Graph(ros, start, diagnostics, str(clip))


@pytest.mark.parametrize("name", ["keypoint_detector", "video_source", "skeleton_lifter"])
def test_after_a_killed_node_skeletons_come_back_and_nothing_stale_stays(
    graph: Graph, name: str
) -> None:
    wait_for(graph.shown, "markers")
    before = {s.track_id for m in list(graph.skeletons.messages) for s in m.skeletons}
    shown = RViz(graph.markers).shown.values()
    # Images that were taken earlier may still have come through the killed node.
    back = graph.wait_for_people(graph.kill_and_start_again(name))
    if name == "keypoint_detector":
        # It has forgotten the people, and gives their ids to nobody else.
        assert not before & by_id(back).keys()
    if name == "skeleton_lifter":
        # A killed lifter deletes nothing: its markers end by themselves.
        for marker in shown:
            lifetime_s = marker.lifetime.sec + marker.lifetime.nanosec / SECOND
            assert 0 < lifetime_s <= MAX_LIFETIME_S
    else:
        # The lifter goes on, and deletes the markers of people who are gone.
        wait_for(lambda: graph.shown() <= graph.living(), "the end of stale markers")
    # DDS keeps a killed publisher for 20 s. Its successor is no second one.
    for said in graph.diagnostics.values():
        said.wait_for_next()
    assert graph.warnings_of_two_publishers() == set()
