"""Transforms between frames, and their tree over time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emf_ros.body.rotations import quaternions
from emf_ros.geometry.transform_tree import FORGET_S, MAX_FRAMES, MAX_RATE_HZ, TransformTree
from emf_ros.geometry.transforms import Transform, between, rotations

SECOND = 1_000_000_000


def about_z(angle: float) -> tuple[float, ...]:
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


def at(*seconds: float) -> np.ndarray:
    return np.array([round(s * SECOND) for s in seconds], np.int64)


def some_quaternions(count: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, 4))
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.fixture
def tree() -> TransformTree:
    """A camera on a mast of a base that drives ahead at 1 m/s and turns by 0.5 rad/s."""
    tree = TransformTree()
    tree.add("base", "mast", 0, (0.1, 0.0, 1.2), about_z(math.pi / 2), static=True)
    tree.add("mast", "camera", 0, (0.0, 0.05, 0.0), (0.0, 0.0, 0.0, 1.0), static=True)
    for step in range(11):
        tree.add("odom", "base", step * SECOND // 10, (0.1 * step, 0, 0), about_z(0.05 * step))
    return tree


def test_rotations_are_the_inverse_of_quaternions() -> None:
    given_ = some_quaternions(50)
    found = quaternions(rotations(given_))
    signs = np.sign(np.einsum("ni,ni->n", given_, found))[:, None]
    np.testing.assert_allclose(signs * found, given_, atol=1e-12)


def test_a_transform_and_its_inverse_cancel() -> None:
    one = Transform.of(np.random.default_rng(1).standard_normal((20, 3)), some_quaternions(20))
    both = one.inverse() @ one
    np.testing.assert_allclose(both.rotation, np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(both.translation, 0.0, atol=1e-12)


def test_a_covariance_turns_with_its_points() -> None:
    one = Transform.of(np.ones(3), some_quaternions(1)[0])
    points = np.random.default_rng(2).standard_normal((500, 3)) * (1.0, 2.0, 3.0)
    np.testing.assert_allclose(
        np.cov(one.points(points).T), one.covariance(np.cov(points.T)), atol=1e-9
    )


@given(st.floats(-3.1, 3.1), st.floats(0, 1), st.sampled_from([-1.0, 1.0]))
def test_turns_are_interpolated_at_constant_speed_the_shorter_way(angle, share, sign) -> None:
    before, after = np.array([about_z(0.0)]), sign * np.array([about_z(angle)])
    found = between(before, after, np.array([share]))
    np.testing.assert_allclose(
        rotations(found[0]), rotations(np.array(about_z(share * angle))), atol=1e-4
    )


def test_a_lookup_goes_up_and_down_the_tree_and_interpolates(tree: TransformTree) -> None:
    found = tree.lookup("odom", "camera", at(0.0, 0.25, 1.0))
    assert found.known.all()
    for row, seconds in enumerate((0.0, 0.25, 1.0)):
        turn, ahead = 0.5 * seconds, np.array([seconds, 0.0, 0.0])
        base = Transform.of(ahead, np.array(about_z(turn)))
        expected = base.points(np.array([0.1 - 0.05, 0.0, 1.2]))
        np.testing.assert_allclose(found[row].translation, expected, atol=1e-6)
    back = tree.lookup("camera", "odom", at(0.25))[0]
    np.testing.assert_allclose((back @ found[1]).translation, 0.0, atol=1e-12)
    same = tree.lookup("nowhere", "/nowhere", at(5.0))
    np.testing.assert_array_equal(same.translation, np.zeros((1, 3)))


def test_nothing_is_known_before_the_first_and_after_the_last_sample(tree: TransformTree) -> None:
    found = tree.lookup("odom", "camera", at(-0.001, 0.0, 1.0, 1.001))
    assert found.known.tolist() == [False, True, True, False]
    assert "0.50 s too old" in tree.trouble("odom", "camera", round(1.5 * SECOND))
    assert "'base' in 'odom'" in tree.trouble("odom", "camera", round(1.5 * SECOND))
    assert "too new" in tree.trouble("odom", "camera", -SECOND)
    assert tree.trouble("odom", "camera", SECOND) == ""


def test_a_long_gap_is_not_bridged(tree: TransformTree) -> None:
    tree.add("odom", "base", 3 * SECOND, (1, 0, 0), about_z(0))
    assert tree.lookup("odom", "base", at(1.0, 2.0, 3.0)).known.tolist() == [True, False, True]
    assert "gap" in tree.trouble("odom", "base", 2 * SECOND)


def test_trouble_names_the_frames_that_lack_a_connection(tree: TransformTree) -> None:
    assert tree.trouble("map", "camera", 0) == "no transform has the frame 'map'"
    assert tree.trouble("odom", "", 0) == "no transform has the frame ''"
    tree.add("map", "other", 0, (0, 0, 0), about_z(0), static=True)
    text = tree.trouble("map", "camera", 0)
    assert "'camera' and 'map' are not connected" in text and "'odom'" in text
    assert not tree.lookup("map", "camera", at(0.5)).known.any()
    tree.add("odom", "map", 0, (0, 0, 0), about_z(0), static=True)
    assert tree.lookup("map", "camera", at(0.5)).known.all()


def test_a_loop_of_frames_ends_the_search() -> None:
    tree = TransformTree()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.add(parent, child, 0, (1, 0, 0), about_z(0), static=True)
    assert not tree.lookup("x", "a", at(0.0)).known.any()
    assert tree.trouble("x", "a", 0)


def test_samples_out_of_order_are_sorted_and_those_of_a_set_back_clock_replace_all() -> None:
    tree = TransformTree()
    for seconds in (1.0, 1.2, 1.1, 1.3, 1.2):
        tree.add("odom", "base", round(seconds * SECOND), (seconds, 0, 0), about_z(0))
    np.testing.assert_allclose(tree.lookup("odom", "base", at(1.15)).translation[0, 0], 1.15)
    tree.add("odom", "base", 0, (7, 0, 0), about_z(0))
    assert tree.lookup("odom", "base", at(0.0, 1.2)).known.tolist() == [True, False]


def test_samples_of_the_last_ten_seconds_are_kept() -> None:
    tree = TransformTree()
    for step in range(2000):
        tree.add("odom", "base", step * SECOND // 50, (0, 0, 0), about_z(0))
    newest = 1999 / 50
    assert tree.lookup("odom", "base", at(newest - 9.9, newest)).known.all()
    assert len(tree._edges["base"]._stamps) < 700


@pytest.mark.parametrize(
    ("parent", "child", "place", "turn"),
    [
        ("a", "b", (math.nan, 0, 0), (0, 0, 0, 1)),
        ("a", "b", (0, 0, 0), (0, 0, 0, 0)),
        ("a", "b", (0, 0, 0), (math.inf, 0, 0, 1)),
        ("a", "a", (0, 0, 0), (0, 0, 0, 1)),
        ("", "b", (0, 0, 0), (0, 0, 0, 1)),
    ],
)
def test_what_is_no_transform_is_refused(parent, child, place, turn) -> None:
    tree = TransformTree()
    with pytest.raises(ValueError):
        tree.add(parent, child, 0, place, turn)
    assert not tree._edges


def test_frames_that_are_published_no_more_are_forgotten(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("emf_ros.geometry.transform_tree.time.monotonic", lambda: now[0])
    tree = TransformTree()
    tree.add("base", "mast", 0, (0, 0, 0), about_z(0), static=True)
    for number in range(100):
        now[0] += 10.0
        tree.add("camera", f"person_{number}", number * SECOND, (0, 0, 1), about_z(0))
    assert len(tree._edges) <= 2 * FORGET_S / 10 + 2
    assert "mast" in tree._edges


def test_the_number_of_frames_is_limited() -> None:
    tree = TransformTree()
    for number in range(MAX_FRAMES):
        tree.add("root", f"frame_{number}", 0, (0, 0, 0), about_z(0))
    with pytest.raises(ValueError, match="frames"):
        tree.add("root", "one_more", 0, (0, 0, 0), about_z(0))
    tree.add("root", "frame_7", SECOND, (0, 0, 0), about_z(0))


def test_the_names_of_frames_and_the_number_of_samples_are_limited() -> None:
    tree = TransformTree(keep_s=1.0)
    with pytest.raises(ValueError, match="over 256 characters"):
        tree.add("root", "x" * 257, 0, (0, 0, 0), about_z(0))
    for number in range(5000):
        tree.add("root", "base", number, (number, 0, 0), about_z(0))
    assert len(tree._edges["base"]._stamps) <= MAX_RATE_HZ
    assert tree.lookup("root", "base", np.array([4999])).translation[0, 0] == 4999


def test_only_samples_after_the_newest_may_come(tree: TransformTree) -> None:
    stamp_ns = round(1.05 * SECOND)
    assert tree.may_come("odom", "camera", stamp_ns)
    tree.add("odom", "base", round(1.1 * SECOND), (1.1, 0, 0), about_z(0))
    assert not tree.may_come("odom", "camera", stamp_ns)
    assert tree.trouble("odom", "camera", stamp_ns) == ""
    # Nothing tells that these come.
    assert not tree.may_come("map", "camera", stamp_ns)
    assert not tree.may_come("odom", "camera", 100 * SECOND)
    assert not tree.may_come("odom", "camera", -SECOND)
