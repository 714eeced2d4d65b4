"""Bones that keep their lengths."""

import numpy as np
import pytest

from emf_ros.lift.bones import (
    BoneMemory,
    Bones,
    bone_lengths,
    window_lengths,
    with_bone_lengths,
)
from emf_ros.skeletons import H36M17

RNG = np.random.default_rng(0)


def poses(*shape):
    return RNG.normal(size=(*shape, 17, 3))


def of_window(joints, stddev):
    return window_lengths(Bones.of(joints), stddev)


def test_a_pose_gets_the_lengths_and_keeps_its_directions():
    pose, lengths = poses(4, 5), RNG.uniform(0.1, 0.5, size=(4, 1, 16))
    changed = with_bone_lengths(pose, lengths)
    assert np.allclose(bone_lengths(changed), np.broadcast_to(lengths, (4, 5, 16)))
    assert np.array_equal(changed[..., 0, :], pose[..., 0, :])
    for a, b in H36M17.edges:
        before, after = (p[..., b, :] - p[..., a, :] for p in (pose, changed))
        cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1)
        assert np.allclose(cosine, np.linalg.norm(after, axis=-1))


def test_own_bone_lengths_change_nothing_and_unknown_ones_stay_nan():
    pose = poses(3)
    assert np.allclose(with_bone_lengths(pose, bone_lengths(pose)), pose)
    pose[:, H36M17.index("left_wrist")] = pose[:, H36M17.index("left_elbow")]
    changed = with_bone_lengths(pose, np.full(16, 0.3))
    assert np.isfinite(changed).all()
    assert np.allclose(
        bone_lengths(changed)[:, H36M17.bones.index(("left_elbow", "left_wrist"))], 0
    )


def test_bone_length_error_falls_with_more_windows():
    truth = poses()
    lengths = bone_lengths(truth)
    lengths = 0.5 * (lengths + lengths[[H36M17.edges.index(e) for e in mirrored_edges()]])
    truth = with_bone_lengths(truth, lengths)
    memory, errors = BoneMemory(10.0), []
    for i in range(200):
        window = truth * RNG.normal(1.0, 0.1) + RNG.normal(scale=0.02, size=(27, 17, 3))
        known = memory.add(of_window(window, np.full((27, 17), 0.05)), i * 33_000_000)
        errors.append(np.abs(known / lengths - 1).mean())
    assert np.mean(errors[-50:]) < 0.3 * np.mean(errors[:5])


def mirrored_edges():
    return [(H36M17.mirror[a], H36M17.mirror[b]) for a, b in H36M17.edges]


def test_both_sides_have_the_same_bones():
    known = of_window(poses(27), np.full((27, 17), 0.05))
    assert np.array_equal(known, known[[H36M17.edges.index(e) for e in mirrored_edges()]])


def test_uncertain_frames_weigh_less_in_bone_lengths():
    window = np.stack([poses()] * 2)
    window[1] *= 3.0
    stddev = np.full((2, 17), 0.02)
    stddev[1] = 0.2
    known = of_window(window, stddev)
    alike = bone_lengths(window[0])
    alike = 0.5 * (alike + alike[[H36M17.edges.index(e) for e in mirrored_edges()]])
    assert np.allclose(known, alike * (100 * 1 + 3) / 101)


@pytest.mark.parametrize(("seconds", "share"), [(0.0, 0.5), (10.0, 1 / (1 + np.exp(-1.0)))])
def test_older_windows_are_forgotten_in_seconds(seconds, share):
    memory, small = BoneMemory(10.0), poses(1)
    lengths = of_window(small, np.full((1, 17), 0.05))
    first = memory.add(lengths, 0)
    both = memory.add(2 * lengths, int(seconds * 1e9))
    assert np.allclose(both, (share * 2 + (1 - share)) * first)
