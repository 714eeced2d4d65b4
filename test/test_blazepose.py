"""BlazePose in onnxruntime: landmarks as those of MediaPipe, people, tiles, devices."""

import itertools
import math
import threading
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime
import pytest
from inputs import FRAME_NS

from emf_ros.detect.blazepose import BlazePoseDetector, decode, inputs, networks, tiles
from emf_ros.detect.blazepose.decode import (
    anchors,
    decode_candidates,
    refine_landmarks,
)
from emf_ros.detect.blazepose.inputs import normalise_contrast
from emf_ros.detect.blazepose.roi import roi_from_points
from emf_ros.detect.blazepose.tiles import BURST_FRAMES, tile_grids, tile_sequence
from emf_ros.detect.blazepose.tracked import TrackedPerson
from emf_ros.detect.factory import make_detector
from emf_ros.detect.protocol import DetectorError
from emf_ros.geometry.crops import ImagePyramid, Roi, rotation
from emf_ros.runtime import device
from emf_ros.runtime import onnx as onnx_session
from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.track import QualityGate, Tracker
from emf_ros.types import Pose2D

#: Share of a person's height: further apart, two detections are two people's.
ONE_PERSON = 0.2


@pytest.fixture(scope="module")
def pictures(demo_frames) -> list[np.ndarray]:
    """RGB, two seconds of two people."""
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in demo_frames[:60]]


@pytest.fixture(scope="module")
def picture(pictures) -> np.ndarray:
    """RGB, an image in which the first frame of a detector has one of the two people."""
    return pictures[50]


@pytest.fixture
def detector():
    made = BlazePoseDetector("full", 2, 0.4, "cpu", threads=1)
    yield made
    made.close()


def distances(found: list[Pose2D], reference: list[Pose2D]) -> list[np.ndarray | None]:
    """Distances (33,) of the keypoints of each reference person, as shares of its height.

    None for a person that is not among the detections.
    """
    result: list[np.ndarray | None] = []
    for other in reference:
        apart = [
            np.linalg.norm(own.keypoints[:, :2] - other.keypoints[:, :2], axis=1) / other.box()[3]
            for own in found
        ]
        best = min(apart, key=np.median, default=None)
        result.append(None if best is None or np.median(best) > ONE_PERSON else best)
    return result


# ------------------------------------------------------------------------------ geometry


def test_anchor_centres_of_all_layers():
    middles = anchors()
    assert middles.shape == (2254, 2)
    # Two of each of 28 x 28 cells, then of 14 x 14, then six of each of 7 x 7.
    assert np.allclose(middles[:2], 0.5 / 28) and np.allclose(middles[2], (1.5 / 28, 0.5 / 28))
    assert np.allclose(middles[1568], 0.5 / 14) and np.allclose(middles[1960:1966], 0.5 / 7)
    assert np.allclose(middles[-1], 6.5 / 7)


def test_candidates_are_decoded_relative_to_anchors_and_nan_scores_dropped():
    boxes = np.zeros((2, 12), dtype=np.float32)
    boxes[1] = [22.4, 0, 44.8, 89.6, 0, 0, 0, -44.8, 0, 0, 0, 0]
    found, scores = decode_candidates(
        boxes, np.array([-3.0, 2.0]), np.array([[0.1, 0.1], [0.5, 0.5]])
    )
    assert np.allclose(scores, [1 / (1 + math.exp(-2))])
    assert np.allclose(found[0, :4], [0.5, 0.3, 0.7, 0.7])
    assert np.allclose(found[0, 4:8], [0.5, 0.5, 0.5, 0.3])
    wrong = np.array([np.nan, -np.inf])
    assert len(decode_candidates(boxes, wrong, np.zeros((2, 2)))[0]) == 0


def test_roi_is_upright_with_the_person():
    upright = roi_from_points(np.array([100.0, 200.0]), np.array([100.0, 120.0]))
    assert upright == Roi(100.0, 200.0, 200.0, 0.0)
    assert np.allclose(upright.to_image(np.array([[0.5, 0.5], [0, 0]])), [[100, 200], [0, 100]])
    lying = roi_from_points(np.array([100.0, 200.0]), np.array([180.0, 200.0]))
    assert np.isclose(lying.angle, math.pi / 2)
    # The head is at the top of the square.
    assert np.allclose(lying.to_image(np.array([0.5, 0.1])), [180.0, 200.0])


def test_heatmap_refines_landmarks_within_its_kernel():
    heatmap = np.full((4, 64, 64), -20.0, dtype=np.float32)
    heatmap[0, 22, 31] = 5.0
    heatmap[1, 40, 40] = 5.0  # too far away
    heatmap[2, 20, 30] = -1.0  # too cold
    points = np.array([[30.5, 20.5], [30.5, 20.5], [30.5, 20.5], [-3.0, 70.0]]) / 64
    refined = refine_landmarks(points, heatmap)
    assert np.allclose(refined[0], (31 / 64, 22 / 64), atol=1e-3)
    assert np.allclose(refined[1:], points[1:])
    refine_landmarks(np.full((4, 2), np.nan), heatmap)
    corner = refine_landmarks(
        np.array([[0.2, 63.9]] * 4) / 64, np.zeros((4, 64, 64), dtype=np.float32)
    )
    assert np.allclose(corner, (1.5 / 64, 61.5 / 64))


# ------------------------------------------------------------------------------ MediaPipe


def plain_crop(pyramid, roi, size, border):
    """A crop like MediaPipe's: bilinear, without averaging and contrast normalisation."""
    matrix = np.empty((2, 3))
    matrix[:, :2] = roi.side / size * rotation(roi.angle)
    matrix[:, 2] = roi.to_image(np.zeros(2))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pyramid.levels[0], matrix, (size, size), flags=flags, borderMode=border)


def test_single_image_matches_mediapipe(pictures, monkeypatch):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    # What differs from MediaPipe: the threshold, the tiles, and the crops.
    monkeypatch.setattr(decode, "MIN_DETECTION_SCORE", 0.5)
    monkeypatch.setattr(tiles, "TILE_SIZES", 1)
    monkeypatch.setattr(inputs, "crop_roi", plain_crop)
    monkeypatch.setattr(inputs, "normalise_contrast", lambda image: image)
    compared = []
    for picture in pictures[30:60:10]:
        first = make_detector("mediapipe", "full", 2, 0.4)
        wanted = first.detect(picture, 0)
        first.close()
        found = BlazePoseDetector("full", 2, 0.4, "cpu", 1, world_landmarks=True).detect(picture, 0)
        assert found
        # MediaPipe may report one person twice, ours does not.
        for own, apart in zip(found, distances(wanted, found), strict=True):
            assert apart is not None
            compared.append(apart)
            (same,) = (w for w in wanted if distances([w], [own])[0] is not None)
            assert np.median(np.abs(own.keypoints[:, 2] - same.keypoints[:, 2])) < 1e-3
            assert own.world is not None and same.world is not None
            assert np.median(np.linalg.norm(own.world - same.world, axis=1)) < 5e-3
    assert len(compared) >= 3
    assert np.median(np.concatenate(compared)) < 1e-3


def test_tracking_matches_mediapipe(pictures, detector):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    reference = make_detector("mediapipe", "full", 2, 0.4)
    compared, missed, count, of_them = [], 0, 0, 0
    for index, picture in enumerate(pictures):
        found = detector.detect(picture, index * FRAME_NS)
        wanted = reference.detect(picture, index * FRAME_NS)
        count, of_them = count + len(found), of_them + len(wanted)
        apart = distances(found, wanted)
        compared += [d for d in apart if d is not None]
        missed += sum(d is None for d in apart)
    reference.close()
    assert np.median(np.concatenate(compared)) < 0.01
    assert count >= of_them > len(pictures)
    assert missed <= 0.05 * of_them


# ------------------------------------------------------------------------------ inputs


def test_contrast_normalisation_of_dark_and_pale_images():
    bright = np.random.default_rng(0).normal(118, 55, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    assert normalise_contrast(bright) is bright
    for spoilt in (bright // 6, 100 + bright // 6):
        back = normalise_contrast(spoilt)
        assert abs(back.mean() - 118) < 3 and abs(back.std() - 45) < 3
    for even in (0, 255):
        plain = np.full((8, 8, 3), even, np.uint8)
        assert normalise_contrast(plain) is plain


# ------------------------------------------------------------------------------ the detector


def test_people_in_dark_noisy_images_are_detected(pictures):
    """The light is a fifth, with the noise of a sensor."""
    generator = np.random.default_rng(0)
    detector = BlazePoseDetector("full", 2, 0.4, "cpu", 1)
    found = 0
    for index, picture in enumerate(pictures):
        dark = 0.2 * picture + generator.normal(0, 8, picture.shape)
        found += len(detector.detect(dark.clip(0, 255).astype(np.uint8), index * FRAME_NS))
    assert found > 0.5 * len(pictures)


def test_detection_is_deterministic(pictures):
    runs = []
    for _ in range(2):
        detector = make_detector("blazepose", "full", 2, 0.4, device="cpu")
        assert isinstance(detector, BlazePoseDetector)
        assert "CPU" in detector.description
        runs.append([detector.detect(p, i * FRAME_NS) for i, p in enumerate(pictures[45:53])])
        detector.close()
    for one, other in zip(*runs, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a.keypoints, b.keypoints) and a.score == b.score


def test_upside_down_person_is_detected(picture):
    detector = BlazePoseDetector("full", 2, 0.4, "cpu", 1, world_landmarks=True)
    upright = detector.detect(picture, 0)
    turned = np.ascontiguousarray(picture[::-1, ::-1])
    detector._tracked = []
    found = detector.detect(turned, FRAME_NS)
    height, width = turned.shape[:2]
    back = [
        Pose2D(np.column_stack([(width, height) - d.keypoints[:, :2] - 1, d.keypoints[:, 2]]), 1)
        for d in found
    ]
    apart = [d for d in distances(back, upright) if d is not None]
    assert apart and np.median(apart[0]) < 0.03
    # Its own 3D points have turned along: the head is below the hips.
    assert all(d.world is not None and d.world[0, 1] > 0 for d in found)


def test_world_landmarks_are_computed_only_on_request(picture, monkeypatch):
    plain = BlazePoseDetector("full", 2, 0.4, "cpu", 1)
    asking = BlazePoseDetector("full", 2, 0.4, "cpu", 1, world_landmarks=True)
    outputs = {}
    for detector in (plain, asking):
        run = detector._networks.run
        seen = outputs[detector] = set()
        monkeypatch.setattr(
            detector._networks,
            "run",
            lambda jobs, r=run, s=seen: s.update(*(job.outputs for job in jobs)) or r(jobs),
        )
    without, with_world = plain.detect(picture, 0), asking.detect(picture, 0)
    assert "world" not in outputs[plain] and "world" in outputs[asking]
    assert without and all(d.world is None for d in without)
    assert all(d.world.shape == (33, 3) for d in with_world)
    for one, other in zip(without, with_world, strict=True):
        assert np.array_equal(one.keypoints, other.keypoints)


def test_person_with_non_finite_world_landmarks_is_kept(picture, monkeypatch):
    detector = BlazePoseDetector("full", 2, 0.4, "cpu", 1, world_landmarks=True)
    run = detector._networks.run

    def broken_world(jobs):
        return [
            [
                [
                    output * np.nan if name == "world" else output
                    for name, output in zip(job.outputs, outputs, strict=True)
                ]
                for outputs in of_rois
            ]
            for job, of_rois in zip(jobs, run(jobs), strict=True)
        ]

    monkeypatch.setattr(detector._networks, "run", broken_world)
    found = detector.detect(picture, 0)
    assert found and all(d.world is None for d in found)


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (2, 2), (1, 500), (500, 1), (100, 1000), (1000, 100), (480, 640), (0, 0), (4, 40000)],
)
def test_images_of_odd_shapes_give_no_detections_or_finite_ones(detector, shape):
    assert detector.detect(np.zeros((*shape, 3), dtype=np.uint8), 0) == []
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for found in detector.detect(noise, FRAME_NS):
        assert np.isfinite(found.keypoints).all()


def test_person_is_detected_in_an_image_six_times_wider_than_high(picture, detector):
    # The lower half: in the whole picture the person is so small that the last bit of the colours,
    # which differs between video decoders, decides.
    strip = picture[picture.shape[0] // 2 :]
    height, width = strip.shape[:2]
    wide = np.zeros((height, 6 * height, 3), dtype=np.uint8)
    wide[:, 300 : 300 + width] = strip
    found = []
    for index in range(12):
        found += detector.detect(wide, index * FRAME_NS)
    assert found
    assert all(300 < detection.box()[0] < 300 + width for detection in found)


def test_change_of_image_size_restarts_tracking(picture, detector):
    before = detector.detect(picture, 0)
    detector.detect(np.zeros((1, 1, 3), dtype=np.uint8), FRAME_NS)
    after = detector.detect(picture, 2 * FRAME_NS)
    assert [d.score for d in before] == [d.score for d in after]


def test_a_lower_max_people_holds_from_the_next_image_on(picture):
    detector = BlazePoseDetector("full", 10, 0.4, "cpu", 1)
    picture = np.ascontiguousarray(np.hstack([picture, picture]))
    before = [detector.detect(picture, index * FRAME_NS) for index in range(6)][-1]
    assert len(before) > 1
    detector.configure(1, 0.4)
    for index in range(6, 10):
        (kept,) = detector.detect(picture, index * FRAME_NS)
    best = max(before, key=lambda person: person.score)
    assert np.abs(kept.keypoints - best.keypoints)[:, :2].mean() < 20


@pytest.mark.parametrize("later_ns", [-FRAME_NS, 2_000_000_000])
def test_rois_are_dropped_after_a_time_jump(picture, detector, monkeypatch, later_ns):
    assert detector.detect(picture, 0)
    monkeypatch.setattr(detector, "_detect_people", lambda pyramid, tiles: [[] for _ in tiles])
    assert detector.detect(picture, FRAME_NS)
    assert detector.detect(picture, FRAME_NS + later_ns) == []


def test_tiles_follow_burst_then_fixed_share_and_stop_at_max_people(picture, monkeypatch):
    detector = BlazePoseDetector("full", 10, 0.4, "cpu", 1)
    seen = []
    detect_people = detector._detect_people

    def counted(pyramid, batch):
        seen.extend(batch)
        return detect_people(pyramid, batch)

    monkeypatch.setattr(detector, "_detect_people", counted)
    monkeypatch.setattr(detector._tiles, "take_lost", list)
    # The whole image and its parts at once, then one tile per frame.
    detector.detect(picture, 0)
    assert len(seen) == 4 and seen[0].side == picture.shape[1]
    for index in range(1, BURST_FRAMES):
        detector.detect(picture, index * FRAME_NS)
    assert len(seen) == 3 + BURST_FRAMES
    # Then one tile per three landmark inferences.
    people, detector._tiles._burst_frames = len(detector._tracked), 0
    detector._tiles._due = 0.5
    for index in range(BURST_FRAMES, BURST_FRAMES + 9):
        detector.detect(picture, index * FRAME_NS)
    assert len(detector._tracked) == people > 0
    assert len(seen) == 3 + BURST_FRAMES + 3 * people
    # With max_people tracked there are no more tiles.
    alone = BlazePoseDetector("full", 1, 0.4, "cpu", 1)
    monkeypatch.setattr(alone, "_detect_people", counted)
    alone.detect(picture, 0)
    seen.clear()
    for index in range(1, 5):
        alone.detect(picture, index * FRAME_NS)
    assert not seen


@pytest.mark.parametrize("size", [(1768, 994), (640, 480), (480, 640), (2000, 300), (320, 240)])
def test_each_round_of_tiles_covers_the_image(size):
    sides = sorted({tile.side for tile in itertools.islice(tile_sequence(*size), 40)})
    assert sides[-1] == max(size) and len(sides) == (1 if size == (320, 240) else 3)
    rounds = {side: tile_grids(*size, side) for side in sides}
    x, y = np.meshgrid(np.linspace(0, size[0], 50), np.linspace(0, size[1], 50))
    for side in sides:
        shown = np.zeros(x.shape, dtype=int)
        for _ in range(8):
            for tile in next(rounds[side]):
                far = np.fmax(np.abs(x - tile.x), np.abs(y - tile.y))
                shown += far <= tile.side / 2 + 1e-6
        assert shown[2:-2, 2:-2].min() >= 1
        # Away from the edges in each.
        assert shown[10:-10, 10:-10].min() >= 8


def test_distant_person_is_detected_in_small_tiles(picture, monkeypatch):
    # A man of a ninth of the image's longer side.
    far = np.full((720, 1280, 3), 150, np.uint8)
    small = cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    far[200 : 200 + small.shape[0], 450 : 450 + small.shape[1]] = small
    near = BlazePoseDetector("full", 1, 0.4, "cpu", 1).detect(picture, 0)

    def found(detector):
        # Its square has a few images to settle in.
        for index in range(20):
            people = detector.detect(far, index * FRAME_NS)
        return people

    (man,) = found(BlazePoseDetector("full", 1, 0.4, "cpu", 1))
    wanted = (near[0].keypoints[:, :2] + 0.5) * 0.4 - 0.5 + (450, 200)
    apart = np.linalg.norm(man.keypoints[:, :2] - wanted, axis=1)
    assert np.median(apart) < 0.05 * np.ptp(wanted[:, 1])
    monkeypatch.setattr(tiles, "TILE_SIZES", 1)
    assert found(BlazePoseDetector("full", 1, 0.4, "cpu", 1)) == []


def test_head_and_chest_that_fill_the_image_are_a_person(pictures):
    people = BlazePoseDetector("full", 2, 0.4, "cpu", 1)
    for index in range(4):
        found = people.detect(pictures[index], index * FRAME_NS)
    man = max(found, key=lambda person: person.score).keypoints[:, :2]

    def middle(joint):
        return np.mean([man[BLAZEPOSE33.index(f"{s}_{joint}")] for s in ("left", "right")], axis=0)

    (x, y), trunk = middle("shoulder"), np.linalg.norm(middle("shoulder") - middle("hip"))
    across = slice(max(int(x - trunk), 0), int(x + trunk))
    down = slice(max(int(y - 0.75 * trunk), 0), int(y + 0.45 * trunk))
    detector = BlazePoseDetector("full", 2, 0.2, "cpu", 1)
    gate, tracker = QualityGate(BLAZEPOSE33, min_score=0.2), Tracker(BLAZEPOSE33)
    for index in range(5):
        part = pictures[index][down, across]
        close = cv2.resize(part, None, fx=720 / len(part), fy=720 / len(part))
        seen = detector.detect(close, index * FRAME_NS)
        plausible, _ = gate.select(seen, (close.shape[1], 720))
        tracked = tracker.update(plausible, index * FRAME_NS)
    assert len(tracked) == 1


def test_batched_inference_matches_single_inference(pictures):
    one_by_one, together = (BlazePoseDetector("full", 4, 0.4, "cpu", 1) for _ in range(2))
    backends = together._networks._backends
    backends.runner = replace(backends.runner, batch_size=3)
    shapes = []
    run = together._networks.run

    def noted(jobs):
        shapes.extend((job.network, len(job.rois)) for job in jobs)
        return run(jobs)

    together._networks.run = noted
    for index, picture in enumerate(pictures[40:46]):
        wanted = one_by_one.detect(picture, index * FRAME_NS)
        found = together.detect(picture, index * FRAME_NS)
        assert len(found) == len(wanted) > 0
        for own, other in zip(found, wanted, strict=True):
            assert np.abs(own.keypoints - other.keypoints).max() < 0.01
    assert max(n for which, n in shapes if which == networks.DETECTION_NETWORK) == 3
    assert max(n for which, n in shapes if which == networks.LANDMARK_NETWORK) >= 2


@pytest.mark.parametrize("time_ratio", [0.5, 1.0])
def test_threads_do_not_change_a_bit_of_the_keypoints(pictures, monkeypatch, time_ratio):
    monkeypatch.setattr(networks, "_time_ratio", lambda path, threads: time_ratio)
    one, several = (BlazePoseDetector("full", 4, 0.4, "cpu", threads) for threads in (1, 3))
    assert one.description.endswith("on 1 CPU thread (device is cpu)")
    alone = 2 if time_ratio < 2 / 3 else 1
    assert f"on up to 3 CPU threads, {alone} for a single crop" in several.description
    people = 0
    for index, picture in enumerate(pictures[46:58]):
        wanted, found = (detector.detect(picture, index * FRAME_NS) for detector in (one, several))
        assert len(found) == len(wanted)
        people += len(found)
        for own, other in zip(found, wanted, strict=True):
            assert np.array_equal(own.keypoints, other.keypoints)
    assert people > 12
    several.close()


def test_several_crops_run_at_the_same_time(picture):
    detector = BlazePoseDetector("full", 2, 0.4, "cpu", 2)
    # Each crop waits until the other one is there.
    both = threading.Barrier(2, timeout=30)

    def make_input(rois):
        both.wait()
        return inputs.landmark_input(ImagePyramid(picture), rois)

    rois = [Roi(200.0, 200.0, 300.0, 0.0), Roi(400.0, 200.0, 300.0, 0.1)]
    job = networks.Job(networks.LANDMARK_NETWORK, ("landmarks", "presence"), make_input, rois)
    ((first, second),) = detector._networks.run([job])
    assert first[0].shape == second[0].shape == (195,) and first[1].shape == (1,)
    assert not np.array_equal(first[0], second[0])
    detector.close()


def test_lost_person_is_redetected_in_the_next_frame(picture, detector, monkeypatch):
    for index in range(2):
        (before, *_) = detector.detect(picture, index * FRAME_NS)
    infer, lost = detector._infer_landmarks, []

    def fails_once(pyramid, rois):
        if lost:
            return infer(pyramid, rois)
        lost.extend(rois)
        return [None] * len(rois)

    monkeypatch.setattr(detector, "_infer_landmarks", fails_once)
    # The only tiles left are those of lost people.
    detector._tiles._sequence = iter(())
    after = detector.detect(picture, 2 * FRAME_NS)
    assert lost
    assert any(apart is not None for apart in distances(after, [before]))


def test_occluded_person_is_redetected_within_a_second(picture, detector):
    """The person is occluded for half a second; the last place gets tiles."""
    for index in range(3):
        everyone = detector.detect(picture, index * FRAME_NS)
    man = min(everyone, key=lambda d: d.box()[0])
    x, y, width, height = man.box().astype(int)
    occluded = picture.copy()
    occluded[y - 40 : y + height + 40, x - 40 : x + width + 40] = 128
    # The only tiles left are those of lost people.
    detector._tiles._sequence = iter(())
    for index in range(3, 18):
        found = detector.detect(occluded, index * FRAME_NS)
    assert all(apart is None for apart in distances(found, [man]))
    for index in range(18, 24):
        found = detector.detect(picture, index * FRAME_NS)
        if distances(found, [man])[0] is not None:
            return
    pytest.fail("the person was not detected again")


def test_merged_pose_on_another_persons_legs_is_not_tracked(picture, detector, monkeypatch):
    person = detector.detect(picture, 0)[0]
    roi, verification = detector._tracked[0].next_roi, detector._tracked[0].verification
    feet = person.keypoints[[detector.layout.index(f"{s}_ankle") for s in ("left", "right")], 1]
    taller = person.keypoints.copy()
    taller[:, 1] = feet.mean() + 3 * (taller[:, 1] - feet.mean())
    merged = Pose2D(taller, person.score - 0.1)
    poses = [TrackedPerson(d, 1.0, roi, verification) for d in (merged, person)]
    detector._tracked, detector._tiles._sequence = poses, iter(())
    monkeypatch.setattr(detector, "_infer_landmarks", lambda pyramid, rois: poses[: len(rois)])
    (found,) = detector.detect(picture, FRAME_NS)
    assert found is person and len(detector._tracked) == 1


def test_a_tall_person_behind_a_small_one_stays_tracked(picture, detector, monkeypatch):
    person = detector.detect(picture, 0)[0]
    roi, verification = detector._tracked[0].next_roi, detector._tracked[0].verification
    adult, child = person.keypoints.copy(), person.keypoints.copy()
    ankles = [detector.layout.index(f"{side}_ankle") for side in ("left", "right")]
    knees = [detector.layout.index(f"{side}_knee") for side in ("left", "right")]
    foot = adult[ankles, :2].mean(axis=0)
    child[:, :2] = foot + 0.35 * (child[:, :2] - foot)
    child[ankles, 0] = child[knees, 0] = adult[ankles, 0]
    detector._tiles._sequence = iter(())
    for index in range(1, 36):
        aside = child + [max(28 - index, 0) * 0.03 * np.ptp(adult[:, 1]), 0, 0]
        poses = [
            TrackedPerson(Pose2D(keypoints, score), 1.0, roi, verification)
            for keypoints, score in ((adult, person.score - 0.1), (aside, person.score))
        ]
        monkeypatch.setattr(
            detector, "_infer_landmarks", lambda pyramid, rois, own=poses: own[: len(rois)]
        )
        if index == 1:
            detector._tracked = poses
        assert len(detector.detect(picture, index * FRAME_NS)) == 2, index


def test_slow_camera_gets_more_tiles_per_frame(picture, detector, monkeypatch):
    blank, counts = np.zeros_like(picture), []
    monkeypatch.setattr(
        detector,
        "_detect_people",
        lambda pyramid, tiles: counts.extend(tiles) or [[] for _ in tiles],
    )
    for step_ns, expected in ((FRAME_NS, 1), (3 * FRAME_NS, 3), (9 * FRAME_NS, 3)):
        detector.detect(blank, 0)
        counts.clear()
        for index in range(1, 5):
            detector.detect(blank, index * step_ns)
        assert len(counts) == 4 * expected


# ------------------------------------------------------------------------------ devices


def test_required_gpu_refuses_to_start_on_cpu(monkeypatch):
    monkeypatch.setattr(device, "gpu_present", lambda: False)
    with pytest.raises(DetectorError, match="required and cannot be used: no CUDA GPU"):
        make_detector("blazepose", "full", 1, 0.4, device="cuda")
    with pytest.raises(DetectorError, match="device must be one of"):
        make_detector("blazepose", "full", 1, 0.4, device="gpu")
    with pytest.raises(DetectorError, match="no variant 'huge'"):
        make_detector("blazepose", "huge", 1, 0.4, device="cpu")
    detector = make_detector("blazepose", "full", 1, 0.4, device="auto")
    assert "no CUDA GPU" in detector.description


def test_description_says_why_gpu_is_not_used(monkeypatch):
    monkeypatch.setattr(device, "gpu_present", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_session.CPU])
    with pytest.raises(DetectorError, match="built without CUDA"):
        BlazePoseDetector("full", 1, 0.4, "cuda", 1)
    assert "built without CUDA" in BlazePoseDetector("full", 1, 0.4, "auto", 1).description


def test_failed_gpu_falls_back_to_cpu_with_the_same_batch(picture, monkeypatch):
    class FailingSession:
        """A session that fails after a number of passes."""

        def __init__(self, session):
            self.session, self.left = session, passes[0]

        def run(self, outputs, given):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("CUDA failure 700\nand pages of it")
            return self.session.run(outputs, given)

    def gpu_sessions(paths, provider, threads, say):
        sessions = [networks.make_session(path, threads) for path in paths]
        return tuple(map(FailingSession, sessions))

    said, wanted = [], BlazePoseDetector("full", 2, 0.4, "cpu", 1).detect(picture, 0)
    monkeypatch.setattr(device, "gpu_present", lambda: True)
    monkeypatch.setattr(networks, "_gpu_sessions", gpu_sessions)
    passes = [0]
    for passes[0] in (0, 1):
        detector = BlazePoseDetector("full", 2, 0.4, "auto", 1, say=said.append)
        assert detector.device == "cuda" and detector.description.endswith("on TensorRT")
        found = detector.detect(picture, 0)
        assert len(found) == len(wanted) > 0
        for own, other in zip(found, wanted, strict=True):
            assert np.abs(own.keypoints - other.keypoints).max() < 0.01
        assert detector.refused["gpu_lost"] == 1 and detector.device == "cpu"
        assert said == [
            "the GPU has failed, BlazePose runs on the CPU (CUDA failure 700); "
            "this process cannot use it again"
        ]
        assert detector.description.endswith("1 CPU thread; the GPU has failed: CUDA failure 700")
        detector.detect(picture, FRAME_NS)
        assert len(said) == 1
        said.clear()
    passes[0] = 0
    strict = BlazePoseDetector("full", 2, 0.4, "cuda", 1, say=said.append)
    with pytest.raises(DetectorError, match="GPU is required and has failed: CUDA failure 700"):
        strict.detect(picture, 0)
    assert strict.device == "cuda" and not said


def test_error_on_the_cpu_is_raised(picture):
    class Broken:
        def run(self, outputs, given):
            raise RuntimeError("no such node")

    detector = BlazePoseDetector("full", 1, 0.4, "cpu", 1)
    backends = detector._networks._backends
    backends.runner = replace(backends.runner, sessions=(Broken(), Broken()))
    with pytest.raises(RuntimeError, match="no such node"):
        detector.detect(picture, 0)
    assert "gpu_lost" not in detector.refused


def test_mediapipe_refuses_a_required_gpu():
    with pytest.raises(DetectorError, match="GPU is required and cannot be used: .*mediapipe"):
        make_detector("mediapipe", "full", 1, 0.4, device="cuda")
