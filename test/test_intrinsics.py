"""Which intrinsics are accepted, and which changes of them restart the windows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from test_pipeline import CAMERA, engine, frame_of, pipeline_of  # noqa: F401
from test_swaps import walker

from emf_ros.geometry.camera import Camera
from emf_ros.intrinsics import (
    CHANGED_IN_A_ROW,
    IMAGES_WITHOUT_CONTRADICTION,
    UNKNOWN_IN_A_ROW,
    IntrinsicsFilter,
    same_rays,
)
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.types import TrackState

LENS = replace(CAMERA, distortion=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]))
FISHEYE = replace(CAMERA, model="equidistant", distortion=np.array([0.01, 0.0, 0.0, 0.0]))


def jittered(camera: Camera, share: float) -> Camera:
    """The camera with each number of K off by up to a share; its last row is always 0 0 1."""
    noise = np.random.default_rng(0).uniform(-share, share, (3, 3))
    noise[2] = 0.0
    return replace(camera, matrix=camera.matrix * (1 + noise))


def zoomed(factor: float, camera: Camera = CAMERA) -> Camera:
    return replace(camera, matrix=np.diag([factor, factor, 1.0]) @ camera.matrix)


class TestSameRays:
    @pytest.mark.parametrize("camera", [CAMERA, LENS, FISHEYE], ids=["plain", "lens", "fisheye"])
    @pytest.mark.parametrize("share", [0.0, 1e-9, 1e-6, 1e-3])
    def test_rounding_and_autofocus_are_no_change(self, camera, share):
        assert same_rays(camera, jittered(camera, share))

    @pytest.mark.parametrize(
        "other",
        [zoomed(1.1), zoomed(0.95), LENS, FISHEYE, Camera.from_fov(720, 720, 70.0), None],
        ids=["zoom in", "zoom out", "lens", "fisheye", "other aspect", "unknown"],
    )
    def test_others_are_a_change(self, other):
        assert not same_rays(CAMERA, other) and not same_rays(other, CAMERA)

    def test_the_resolution_makes_no_difference(self):
        assert same_rays(LENS, LENS.scaled_to(640, 360))
        assert not same_rays(CAMERA, zoomed(1.1).scaled_to(640, 360))

    def test_unknown_is_as_unknown(self):
        assert same_rays(None, None)


def accepted(*cameras: Camera | None) -> list[Camera | None]:
    """The accepted intrinsics after each message."""
    intrinsics = IntrinsicsFilter()
    out = []
    for camera in cameras:
        intrinsics.take(camera)
        out.append(intrinsics.camera)
    return out


class TestFilter:
    def test_the_first_are_accepted_at_once_and_known_ones_after_unknown_ones(self):
        assert accepted(CAMERA) == [CAMERA]
        assert accepted(None, None, CAMERA, CAMERA) == [None, None, CAMERA, CAMERA]

    @pytest.mark.parametrize("wrong", [None, zoomed(2.0)], ids=["unknown", "another"])
    @pytest.mark.parametrize("pattern", ["gw", "ggw", "gww", "gwgww"])
    def test_wrong_messages_between_good_ones_change_nothing(self, wrong, pattern):
        messages = [CAMERA if which == "g" else wrong for which in pattern * 20]
        assert all(camera is CAMERA for camera in accepted(*messages))

    def test_a_change_is_accepted_when_it_is_repeated(self):
        found = accepted(CAMERA, *[zoomed(2.0)] * 6)
        assert [same_rays(c, CAMERA) for c in found] == [True] * CHANGED_IN_A_ROW + [False] * (
            7 - CHANGED_IN_A_ROW
        )
        assert accepted(CAMERA, *[None] * UNKNOWN_IN_A_ROW)[-2:] == [CAMERA, None]

    def test_wrong_messages_that_differ_do_not_confirm_each_other(self):
        assert accepted(CAMERA, *(zoomed(1 + 0.1 * k) for k in range(1, 20)))[-1] is CAMERA

    def test_a_change_that_is_sent_once_is_accepted_after_a_while(self):
        intrinsics = IntrinsicsFilter()
        intrinsics.take(CAMERA)
        assert not intrinsics.take_images(10 * IMAGES_WITHOUT_CONTRADICTION)
        other = zoomed(2.0)
        assert not intrinsics.take(other)
        assert not intrinsics.take_images(IMAGES_WITHOUT_CONTRADICTION - 1)
        assert intrinsics.take_images(1) and intrinsics.camera is other

    def test_small_changes_are_followed(self):
        """An autofocus that breathes by less than a hundredth at a time."""
        cameras = [zoomed(1 + 0.005 * k) for k in range(40)]
        assert accepted(*cameras) == cameras


def lifted(pipeline: LiftPipeline, cameras: list[Camera | None]) -> list[list[int]]:
    """States of everyone in each image; its camera is told before it."""
    rays, out = walker(len(cameras)), []
    for t, camera in enumerate(cameras):
        pipeline.set_camera(camera)
        result = pipeline.update(frame_of([rays[t]], (t + 30) * 1e9 / 30))
        out.append([p.state for p in result.people])
    return out


class TestPipeline:
    @pytest.mark.parametrize("says", [True, False], ids=["says so", "silent"])
    def test_unknown_intrinsics_are_no_change(self, engine, says):  # noqa: F811
        pipeline = LiftPipeline(engine)
        if says:
            states = lifted(pipeline, [None] * 20)
        else:
            rays = walker(20)
            results = [
                pipeline.update(frame_of([r], (t + 30) * 1e9 / 30)) for t, r in enumerate(rays)
            ]
            states = [[p.state for p in result.people] for result in results]
        assert states[5:] == [[TrackState.TRACKED]] * 15
        assert not pipeline.counts

    @pytest.mark.parametrize("cameras", [(CAMERA, None), (None, CAMERA), (CAMERA, zoomed(1.2))])
    def test_a_change_restarts_once(self, engine, cameras):  # noqa: F811
        pipeline = LiftPipeline(engine)
        states = lifted(pipeline, [cameras[0]] * 12 + [cameras[1]] * 12)
        assert pipeline.counts == {"camera_changed": 1}
        assert sum(s.count(TrackState.ENDED) for s in states) == 1
        assert states[-1] == [TrackState.TRACKED]

    def test_rounding_restarts_nothing(self, engine):  # noqa: F811
        pipeline = pipeline_of(engine)
        cameras = [jittered(CAMERA, 1e-9 * (k % 2)) for k in range(20)]
        assert lifted(pipeline, cameras)[5:] == [[TrackState.TRACKED]] * 15
        assert not pipeline.counts

    def test_a_small_change_is_used_from_the_next_image_on(self, engine):  # noqa: F811
        rays, distances = walker(40), []
        for factor in (1.0, 1.005):
            pipeline = pipeline_of(engine)
            pipeline.set_camera(zoomed(factor))
            for t in range(40):
                result = pipeline.update(frame_of([rays[t]], (t + 30) * 1e9 / 30))
            distances.append(result.people[0].root[2])
        assert math.isclose(distances[1] / distances[0], 1.005, abs_tol=0.002)
