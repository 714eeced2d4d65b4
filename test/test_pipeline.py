"""The core of the lifter on one walking person: what is put right on the way to the skeleton."""

from dataclasses import replace

import numpy as np
import pytest
from test_swaps import exchange, walker

from emf_ros.geometry.camera import Camera
from emf_ros.lift.acceptance import most_important
from emf_ros.lift.bones import bone_lengths
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.together import lift_together
from emf_ros.lift.track_ids import MIN_TRACKED_PEOPLE
from emf_ros.lift.window import NANOSECONDS
from emf_ros.types import UNTRACKED, Frame2D, Pose2D, TrackState

CAMERA = Camera.from_fov(1280, 720, 70.0)


@pytest.fixture(scope="module")
def engine():
    return make_engine("lite", None, "cpu", threads=1)


def lift(engine, rays, **settings):
    """The last 30 poses (30, 17, 3) m, their roots (30, 3) m, and the counts."""
    pipeline = LiftPipeline(engine, PipelineConfig(**settings))
    pipeline.set_camera(CAMERA)
    people = []
    for t, points in enumerate(rays):
        flat = np.concatenate([points, np.ones((17, 1))], axis=-1)
        keypoints = np.concatenate([CAMERA.project(flat), np.ones((17, 1))], axis=-1)
        frame = Frame2D(
            round((1 + t / 30) * NANOSECONDS),
            "",
            "h36m17",
            CAMERA.size,
            [Pose2D(keypoints, track_id=1)],
        )
        people += pipeline.update(frame).people
    assert all(person.root_valid for person in people)
    joints = np.stack([person.joints for person in people[-30:]])
    return joints, np.stack([person.root for person in people[-30:]]), pipeline.counts


def test_a_left_right_swap_of_the_detector_is_corrected_in_the_skeleton(engine):
    rays = walker(75, turned=0.4)
    wrong = exchange(rays, range(50, 58))
    right, _, counts = lift(engine, rays)
    assert counts["swap_corrected"] == 0
    kept, _, counts = lift(engine, wrong)
    assert np.allclose(kept, right) and counts["swap_corrected"] == 8
    taken, _, counts = lift(engine, wrong, swap_correction=False)
    assert np.abs(taken - right).max() > 0.05 and counts["swap_corrected"] == 0


def test_an_unknown_camera_is_guessed_across_the_longer_side(engine):
    """A body in an upright image is lifted as by that camera, without a place."""
    rays = walker(20, turned=0.4)
    upright = Camera.guessed(720, 1280)
    poses = []
    for camera in (None, upright):
        pipeline = LiftPipeline(engine, PipelineConfig())
        pipeline.set_camera(camera)
        for t, points in enumerate(rays):
            flat = np.concatenate([points, np.ones((17, 1))], axis=-1)
            keypoints = np.concatenate([upright.project(flat), np.ones((17, 1))], axis=-1)
            people = [Pose2D(keypoints, track_id=1)]
            stamp_ns = round((1 + t / 30) * NANOSECONDS)
            result = pipeline.update(Frame2D(stamp_ns, "", "h36m17", upright.size, people))
        assert result.people[0].root_valid is (camera is not None)
        poses.append(result.people[0].joints - result.people[0].joints[:1])
    assert poses[0] == pytest.approx(poses[1], abs=1e-9)


def test_bone_lengths_and_distance_are_stable(engine):
    noise = np.random.default_rng(0).normal(scale=0.006, size=(75, 17, 2))
    rays = walker(75, turned=0.4) + noise

    def variation(joints):
        lengths = bone_lengths(joints)
        return (lengths.std(axis=0) / lengths.mean(axis=0)).mean()

    remembered, roots, _ = lift(engine, rays)
    forgotten, _, _ = lift(engine, rays, bone_length_memory_s=0.0)
    assert variation(remembered) < 0.5 * variation(forgotten)
    # The pose itself is hardly another one.
    relative = [joints - joints[:, :1] for joints in (remembered, forgotten)]
    assert np.linalg.norm(relative[0] - relative[1], axis=-1).mean() < 0.06
    assert np.ptp(np.linalg.norm(roots, axis=-1)) < 0.15 * np.linalg.norm(roots, axis=-1).mean()


def test_the_same_input_gives_the_same_output(engine):
    rays = walker(45)
    first, second = (lift(engine, rays)[0] for _ in range(2))
    assert np.array_equal(first, second)


def frame_of(rays, stamp_ns, track_ids=(1,), frame_id="", scores=None):
    """Keypoints of people (P, 17, 2) on the plane z = 1."""
    scores = np.ones(len(rays)) if scores is None else scores
    people = []
    for track_id, points, score in zip(track_ids, rays, scores, strict=True):
        flat = np.concatenate([points, np.ones((17, 1))], axis=-1)
        keypoints = np.concatenate([CAMERA.project(flat), np.ones((17, 1))], axis=-1)
        people.append(Pose2D(keypoints, float(score), track_id))
    return Frame2D(round(stamp_ns), frame_id, "h36m17", CAMERA.size, people)


def pipeline_of(engine, **settings):
    pipeline = LiftPipeline(engine, PipelineConfig(**settings))
    pipeline.set_camera(CAMERA)
    return pipeline


def by_id(result):
    return {person.track_id: person for person in result.people}


STEP = NANOSECONDS / 30


class TestTogether:
    def test_cameras_in_one_pass_are_as_they_are_alone(self, engine):
        cameras = [walker(40, turned=0.4 * k) for k in range(3)]
        alone = []
        for rays in cameras:
            pipeline = pipeline_of(engine)
            for t, points in enumerate(rays):
                result = pipeline.update(frame_of([points], STEP * (t + 30)))
            alone.append(result.people[0])
        together = [pipeline_of(engine) for _ in cameras]
        for t in range(40):
            for pipeline, rays in zip(together, cameras, strict=True):
                assert pipeline.observe(frame_of([rays[t]], STEP * (t + 30)))
            results = lift_together(together)
        for result, person in zip(results, alone, strict=True):
            (mine,) = result.people
            assert np.allclose(mine.joints, person.joints, atol=1e-5)
            assert np.allclose(mine.root, person.root, atol=1e-5)
        assert len({round(r.people[0].joints[3, 0], 3) for r in results}) == 3

    def test_a_single_person_and_one_among_32_have_the_same_pose(self, engine):
        rays = walker(30)
        others = [walker(30, turned=0.1 * k) for k in range(31)]
        alone, crowd = pipeline_of(engine), pipeline_of(engine, max_people=32)
        for t in range(30):
            single = alone.update(frame_of([rays[t]], STEP * (t + 30)))
            everyone = [rays[t], *(other[t] for other in others)]
            many = crowd.update(frame_of(everyone, STEP * (t + 30), range(1, 33)))
        assert len(many.people) == 32
        assert np.allclose(by_id(many)[1].joints, single.people[0].joints, atol=1e-5)

    def test_a_camera_with_nothing_new_is_left_out(self, engine):
        busy, idle = pipeline_of(engine), pipeline_of(engine)
        assert lift_together([busy, idle]) == [None, None]
        idle.observe(frame_of([walker(1)[0]], NANOSECONDS))
        assert lift_together([idle])[0] is not None
        busy.observe(frame_of([walker(1)[0]], NANOSECONDS))
        first, second = lift_together([busy, idle])
        assert len(first.people) == 1 and second is None

    def test_an_image_without_people_is_answered(self, engine):
        result = pipeline_of(engine).update(frame_of([], NANOSECONDS, ()))
        assert result.people == [] and result.stamp_ns == NANOSECONDS


class TestRates:
    @pytest.mark.parametrize("rate_hz", [5, 10, 15, 25, 60, 120])
    def test_the_pose_hardly_depends_on_the_cameras_rate(self, engine, rate_hz):
        """The same motion up to the same moment, seen more or less often, at wavering stamps."""
        fine = walker(240, rate_hz=120).reshape(240, -1)

        def pose(times_s):
            pipeline = pipeline_of(engine, max_gap_s=0.5)
            for t in times_s:
                seen = np.array([np.interp(120 * t, np.arange(240), column) for column in fine.T])
                shown = frame_of([seen.reshape(17, 2)], NANOSECONDS * (1 + t))
                result = pipeline.update(shown)
            (person,) = result.people
            return person.joints - person.root

        end = 1.9
        even = np.arange(end, 0, -1 / rate_hz)[::-1]
        waver = np.random.default_rng(1).uniform(-0.25, 0.25, len(even)) / rate_hz
        waver[[0, -1]] = 0.0
        reference = pose(np.arange(end, 0, -1 / 30)[::-1])
        apart = np.linalg.norm(pose(even + waver) - reference, axis=-1).mean()
        # A walker takes a step in half a second: five images a second miss some of it.
        assert apart < (0.03 if rate_hz >= 10 else 0.1)


class TestLag:
    def test_poses_are_those_of_the_image_so_far_back(self, engine):
        pipeline = pipeline_of(engine, lag=4)
        results = [
            pipeline.update(frame_of([points], STEP * (t + 30)))
            for t, points in enumerate(walker(20))
        ]
        stamps = [r.stamp_ns for r in results if r is not None]
        # Once each, in order; the first image until it is old enough.
        assert stamps == [round(STEP * (t + 30)) for t in [0, *range(1, 16)]]
        assert results[-1].lag_ns == pytest.approx(4 * STEP, abs=2)

    def test_a_larger_lag_describes_no_image_twice(self, engine):
        pipeline, stamps = pipeline_of(engine), []
        for t, points in enumerate(walker(60)):
            pipeline.lag = {0: 0, 20: 6, 40: 2}.get(t, pipeline.lag)
            result = pipeline.update(frame_of([points], STEP * (t + 30)))
            if result is not None:
                stamps.append(result.stamp_ns)
        assert (np.diff(stamps) > 0).all()
        assert stamps[-1] == round(STEP * (59 - 2 + 30))

    def test_it_has_to_lie_in_the_window(self, engine):
        pipeline = pipeline_of(engine)
        for lag in (-1, 27):
            with pytest.raises(ValueError, match="lag"):
                pipeline.lag = lag
        with pytest.raises(ValueError, match="lag"):
            pipeline_of(engine, lag=27)

    def test_settings_with_a_wrong_lag_change_nothing(self, engine):
        pipeline, other = pipeline_of(engine), pipeline_of(engine)
        rays, before = walker(40), pipeline.config
        for t in range(40):
            if t == 20:
                # The filters of the tracks would begin anew.
                for lag in (99, 2.5, None):
                    with pytest.raises(ValueError, match="lag must be a whole number in 0"):
                        pipeline.configure(PipelineConfig(lag=lag, jitter_filter_s=0.5))
            got, wanted = (
                p.update(frame_of([rays[t]], STEP * (t + 30))) for p in (pipeline, other)
            )
            np.testing.assert_array_equal(got.people[0].joints, wanted.people[0].joints)
        assert pipeline.config is before and pipeline.lag == 0

    def test_a_track_that_ends_while_nothing_is_due_is_told_of_later(self, engine):
        pipeline = pipeline_of(engine, lag=10, coast_s=0.2)
        rays = walker(60)
        told = []
        for t in range(60):
            shown = [rays[t]] if t < 30 else []
            result = pipeline.update(frame_of(shown, STEP * (t + 30), (1,)[: len(shown)]))
            if result is not None:
                told += [p.state for p in result.people if p.track_id == 1]
        assert told.count(3) == 1 and told[-1] == 3


@pytest.mark.parametrize(("seen", "coasts_s"), [(2, 0.2), (16, 0.5), (45, 1.0)])
def test_a_track_seen_briefly_ends_sooner(engine, seen, coasts_s):
    pipeline, rays = pipeline_of(engine), walker(90)
    states = []
    for t in range(85):
        shown = [rays[t]] if t < seen else []
        result = pipeline.update(frame_of(shown, STEP * (t + 30), (1,)[: len(shown)]))
        states += [p.state for p in result.people if p.track_id == 1]
    assert states.count(TrackState.ENDED) == 1 and states[-1] == TrackState.ENDED
    assert abs(states.count(TrackState.COASTING) - 30 * coasts_s) <= 1


def test_an_id_that_comes_back_after_its_end_begins_anew(engine):
    pipeline, rays = pipeline_of(engine), walker(200)
    states = []
    for t in range(170):
        shown = [rays[t]] if not 45 <= t < 130 else []
        result = pipeline.update(frame_of(shown, STEP * (t + 30), (1,)[: len(shown)]))
        states += [p.state for p in result.people if p.track_id == 1]
    order = [
        state for state, before in zip(states, [None, *states], strict=False) if state != before
    ]
    assert order == [
        TrackState.WARMING_UP,
        TrackState.TRACKED,
        TrackState.COASTING,
        TrackState.ENDED,
        TrackState.WARMING_UP,
        TrackState.TRACKED,
    ]


class TestWhoIsWho:
    def test_keypoints_of_another_camera_are_refused(self, engine):
        pipeline, rays = pipeline_of(engine), walker(60)
        for t in range(0, 20):
            assert pipeline.observe(frame_of([rays[t]], STEP * (t + 30), frame_id="front"))
            other = frame_of([rays[t]], STEP * (t + 30.5), frame_id="rear")
            assert not pipeline.observe(other)
        assert pipeline.counts["frame_id_mismatch"] == 20
        # The first one falls silent: after a second the other one is taken.
        later = STEP * 50 + 1.1 * NANOSECONDS
        result = pipeline.update(frame_of([rays[20]], later, frame_id="rear"))
        assert pipeline.counts["frame_id_changed"] == 1
        states = sorted(person.state for person in result.people)
        assert states == [0, 3]

    def test_an_id_that_jumps_to_another_person_starts_anew(self, engine):
        pipeline, rays = pipeline_of(engine), walker(60)
        beside = rays + (0.6, 0.0)
        for t in range(30):
            pipeline.update(frame_of([rays[t], beside[t]], STEP * (t + 30), (1, 2)))
        swapped = pipeline.update(frame_of([rays[30], beside[30]], STEP * 60, (2, 1)))
        assert pipeline.counts["track_jumped"] == 2
        assert all(person.state == 0 for person in swapped.people)
        # What is published at once is the new person's own pose, not one between the two.
        alone = pipeline_of(engine).update(frame_of([rays[30]], STEP * 60, (2,)))
        assert np.allclose(by_id(swapped)[2].joints, alone.people[0].joints, atol=1e-4)

    def test_fast_motion_is_no_jump(self, engine):
        """A sprint across the image, at 5 images a second."""
        pipeline, rays = pipeline_of(engine), walker(60)
        extent = np.ptp(rays[0, :, 1])
        for t in range(12):
            across = rays[5 * t % 60] + (8.0 / 1.7 * extent * t * 0.2 - 0.5, 0.0)
            pipeline.update(frame_of([across], NANOSECONDS * (1 + 0.2 * t)))
        assert pipeline.counts["track_jumped"] == 0

    def test_too_many_people_the_near_ones_go_first_and_stay(self, engine):
        pipeline, near = pipeline_of(engine, max_people=3), walker(8)
        sizes = (0.2, 1.0, 0.5, 0.9, 0.3)
        for t in range(8):
            waver = 1 + 0.1 * (-1) ** t * np.array([0, 0, 1, 0, -1])
            crowd = [near[t] * size * w for size, w in zip(sizes, waver, strict=True)]
            result = pipeline.update(frame_of(crowd, STEP * (t + 30), range(5)))
            assert set(by_id(result)) == {1, 2, 3}
        assert pipeline.counts["over_max_people"] == 16

    def test_of_a_crowd_without_ids_the_important_ones_are_tracked(self, engine):
        rng = np.random.default_rng(1)
        pipeline = LiftPipeline(engine, PipelineConfig(max_people=3))
        points = rng.uniform(0, 1, (400, 17, 3)) * (20, 40, 1) + (0, 0, 0.5)
        points[..., :2] *= np.linspace(1, 9, 400)[:, None, None]
        people = [Pose2D(np.clip(each, 0, [1280, 720, 1]), 0.9, UNTRACKED) for each in points]
        pipeline.observe(Frame2D(0, "camera", "h36m17", (1280, 720), people))
        assert pipeline.counts["over_max_people"] >= 400 - MIN_TRACKED_PEOPLE
        kept = most_important(people, MIN_TRACKED_PEOPLE)
        assert len(kept) == MIN_TRACKED_PEOPLE
        assert np.mean([np.ptp(p.keypoints[:, 0]) for p in kept]) > 100

    def test_two_hundred_people(self, engine):
        pipeline, rays = pipeline_of(engine, max_people=200), walker(3)
        for t in range(3):
            crowd = [rays[t] * (0.5 + k / 400) for k in range(200)]
            result = pipeline.update(frame_of(crowd, STEP * (t + 30), range(200)))
        assert len(result.people) == 200 and all(p.root_valid for p in result.people)


def last_person(pipeline, rays, frames=40, before=lambda stamp_ns: None):
    """The only person in the last of some images; `before` is told each one's stamp."""
    for t in range(frames):
        stamp_ns = round(STEP * (t + 30))
        before(stamp_ns)
        result = pipeline.update(frame_of([rays[t]], stamp_ns))
    (person,) = result.people
    return person


def distance(person):
    return np.linalg.norm(person.root)


class TestWhatFixesTheDistance:
    """A walker of whom the model alone knows the distance to some ten percent."""

    @pytest.fixture(scope="class")
    def rays(self):
        return walker(40, turned=0.4)

    @pytest.fixture(scope="class")
    def alone(self, engine, rays):
        return last_person(pipeline_of(engine), rays)

    def assert_scaled(self, person, alone, factor):
        """Nearer or further along the same ray, and as much smaller or larger."""
        assert distance(person) == pytest.approx(factor * distance(alone), rel=0.02)
        assert np.allclose(person.root / distance(person), alone.root / distance(alone), atol=0.01)
        sizes = [np.linalg.norm(p.joints - p.root, axis=-1).mean() for p in (person, alone)]
        assert sizes[0] == pytest.approx(factor * sizes[1], rel=0.02)

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_a_known_height(self, engine, rays, alone, factor):
        from emf_ros.lift.height import standing_height

        height_m = float(factor * standing_height(bone_lengths(alone.joints)))
        person = last_person(pipeline_of(engine, person_height_m=height_m), rays)
        # The known height weighs more than the model's, whose weight is not nothing.
        assert 0.6 < (distance(person) / distance(alone) - 1) / (factor - 1) < 1.05
        assert np.linalg.det(person.root_covariance) < np.linalg.det(alone.root_covariance)
        with pytest.raises(ValueError, match="height"):
            pipeline_of(engine, person_height_m=0.0)

    @pytest.mark.parametrize("factor", [0.88, 1.0, 1.12])
    @pytest.mark.parametrize("kind", ["uint16", "float32"])
    def test_a_depth_image(self, engine, rays, alone, factor, kind):
        trunk = (alone.joints[[1, 4, 11, 14], 2]).mean()
        surface = factor * trunk - 0.12
        image = np.full((180, 320), surface, np.float32)
        if kind == "uint16":
            image = (1000 * image).round().astype(np.uint16)
        pipeline = pipeline_of(engine)
        person = last_person(
            pipeline, rays, before=lambda s: pipeline.add_depth(s + 5_000_000, image)
        )
        self.assert_scaled(person, alone, 1 + 0.96 * (factor - 1))
        assert person.root_covariance[2, 2] < 0.3 * alone.root_covariance[2, 2]
        assert not any(reason.startswith(("depth", "no_depth")) for reason in pipeline.counts)

    def test_a_depth_image_of_something_else_is_refused(self, engine, rays, alone):
        pipeline = pipeline_of(engine)
        near = np.full((180, 320), 0.8, np.float32)
        person = last_person(pipeline, rays, before=lambda s: pipeline.add_depth(s, near))
        assert np.array_equal(person.root, alone.root)
        assert pipeline.counts["depth_disagrees"] == 40

    def test_a_depth_image_of_another_moment_or_shape(self, engine, rays, alone):
        pipeline = pipeline_of(engine)
        right = np.full((180, 320), distance(alone), np.float32)
        person = last_person(
            pipeline, rays, before=lambda s: pipeline.add_depth(s - 50_000_000, right)
        )
        assert np.array_equal(person.root, alone.root)
        assert pipeline.counts["depth_image_missing"] > 0
        pipeline = pipeline_of(engine)
        square = np.full((320, 320), distance(alone), np.float32)
        person = last_person(pipeline, rays, before=lambda s: pipeline.add_depth(s, square))
        assert np.array_equal(person.root, alone.root)
        assert pipeline.counts["depth_size_mismatch"] == 40

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_a_known_floor(self, engine, rays, alone, factor):
        from emf_ros.lift.ground import ANKLE_HEIGHT_M, GroundPlane

        # The camera is level. The walker's lower ankle is this far below it.
        lower = alone.joints[[3, 6], 1].max()
        floor, other = (GroundPlane(f * lower + ANKLE_HEIGHT_M, 0.0) for f in (1.0, factor))
        pipeline = pipeline_of(engine, ground=other)
        person = last_person(pipeline, rays)
        on_floor = last_person(pipeline_of(engine, ground=floor), rays)
        # The height of the lower ankle changes within a step. So another floor is compared with a
        # first one, not with none. With a degree of tilt, so flat a ray has about the weight of the
        # model's own estimate.
        assert 0.2 < (distance(person) / distance(on_floor) - 1) / (factor - 1) < 1.1
        assert person.root_covariance[2, 2] < alone.root_covariance[2, 2]
        assert not any(reason.startswith("ground") for reason in pipeline.counts)
        # On a table, as it were: the floor is no help, and no harm.
        pipeline = pipeline_of(engine, ground=GroundPlane(2.5 * lower, 0.0))
        assert np.array_equal(last_person(pipeline, rays).root, alone.root)
        assert pipeline.counts["ground_disagrees"] > 0


def test_the_jitter_filter_smooths_a_standing_person(engine):
    noise = np.random.default_rng(0).normal(scale=0.004, size=(75, 17, 2))
    standing = np.repeat(walker(1), 75, axis=0) + noise

    def jitter(joints):
        return np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean() * 900

    plain, _, _ = lift(engine, standing)
    calm, roots, _ = lift(engine, standing, smoothing_cutoff_hz=1.0)
    assert jitter(calm) < 0.4 * jitter(plain)
    assert np.linalg.norm(calm - plain, axis=-1).mean() < 0.05
    with pytest.raises(ValueError, match="cutoff"):
        pipeline_of(engine, smoothing_cutoff_hz=-1.0)


def test_the_jitter_filter_keeps_nan(engine):
    rays = walker(60)
    pipeline = pipeline_of(engine, smoothing_cutoff_hz=1.0)
    for t in range(60):
        shown = [] if 25 <= t < 40 else [rays[t]]
        result = pipeline.update(frame_of(shown, STEP * (t + 30), (1,)[: len(shown)]))
        (person,) = result.people
        assert person.root_valid == bool(shown)
        assert np.isnan(person.root).all() != bool(shown)


def test_a_person_who_comes_after_swap_correction_is_off_joins_those_before(engine):
    pipeline = LiftPipeline(engine)
    pipeline.set_camera(Camera.from_fov(640, 480, 60.0))
    keypoints = np.column_stack([400 * walker(1)[0] + (320, 240), np.ones(17)])
    for index, ids in enumerate([(1,), (1, 2), (2, 1, 3)]):
        if index == 1:
            pipeline.configure(replace(pipeline.config, swap_correction=False))
        people = [Pose2D(keypoints, track_id=i) for i in ids]
        assert pipeline.observe(Frame2D(index * 33_333_333, "", "h36m17", (640, 480), people))
    assert pipeline.active == (1, 2, 3)
    assert len(pipeline.lift().people) == 3
