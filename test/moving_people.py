"""People that move, as files of motion capture, for the tests of training."""

import math

import numpy as np
import torch

from emf_ros.skeletons import H36M17
from emf_ros.train.articulated_body import assemble

#: Of the files, and of `windows`.
RATE_HZ = 50.0
MODEL_RATE_HZ = 30.0
SIDES = {"left": 1.0, "right": -1.0}

# A standing person, m, z up, looking along -y.
STANDING = np.array(
    [
        *((0, 0, 0.95), (-0.13, 0, 0.93), (-0.13, -0.02, 0.5), (-0.13, 0.03, 0.08)),
        *((0.13, 0, 0.93), (0.13, -0.02, 0.5), (0.13, 0.03, 0.08), (0, 0, 1.2)),
        *((0, 0, 1.45), (0, -0.1, 1.6), (0, 0, 1.75), (0.18, 0, 1.42)),
        *((0.3, 0, 1.15), (0.32, -0.1, 0.95), (-0.18, 0, 1.42), (-0.3, 0, 1.15)),
        (-0.32, -0.1, 0.95),
    ]
)


def smooth_motion(frames, seed):
    """(N, 17, 3) m: a person who walks about and whose joints swing."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / RATE_HZ
    swing = 0.1 * np.sin(2 * math.pi * (rng.uniform(0.3, 1, (17, 3)) * t + rng.random((17, 3))))
    walk = np.cumsum(0.02 * np.sin(rng.uniform(0, 1, 3) * t + rng.random(3) * 6), axis=0)
    walk[..., 2] = 0
    return STANDING + swing + walk


def write_mocap(path, clips, fps=RATE_HZ):
    """Clips as (subject, motion) in the shared format."""
    lengths = [len(motion) for _, motion in clips]
    np.savez(
        path,
        pos_mm=np.concatenate([np.rint(1000 * m).astype(np.int16) for _, m in clips]),
        starts=np.cumsum([0, *lengths[:-1]]),
        lengths=np.array(lengths),
        subject=np.array([subject for subject, _ in clips]),
        action=np.array(["walk"] * len(clips)),
        joints=np.array(H36M17.joints),
        fps=fps,
    )


def mocap_folder(folder):
    """Two files of five subjects; c has a single frame."""
    folder.mkdir()
    clips = [(s, smooth_motion(150 + 20 * i, i)) for i, s in enumerate(("a", "cmu02", "b"))]
    write_mocap(folder / "tiny.npz", clips)
    write_mocap(folder / "other.npz", [("cmu49", smooth_motion(90, 7)), ("c", STANDING[None])])
    return folder


# ------------------------------------------------------------------- a person of joint angles


def swung(angle, sideways=0.0):
    """Where a hanging bone of length 1 goes, swung forward and to the left, rad."""
    return torch.stack(
        [
            angle.sin() * math.cos(sideways),
            torch.full_like(angle, math.sin(sideways)),
            -angle.cos() * math.cos(sideways),
        ],
        -1,
    )


def person(time, hips, knees, shoulders, elbows, spread=0.25, height=1.0, pace=0.0, heading=0.0):
    """(T, 17, 3) m by forward kinematics: angles are (T,) rad for the left and the right side,
    hips and shoulders forward, knees and elbows as flexion."""
    offsets = torch.zeros(len(time), 17, 3)

    def bone(joint, direction, length):
        offsets[:, H36M17.index(joint)] = length * height * torch.as_tensor(direction)

    up = [0.0, 0.0, 1.0]
    bone("spine", up, 0.24)
    bone("thorax", up, 0.25)
    bone("nose", [0.4, 0.0, 0.9165], 0.18)
    bone("head_top", [-0.5, 0.0, 0.866], 0.14)
    for i, (side, sign) in enumerate(SIDES.items()):
        bone(f"{side}_hip", [0.0, sign, 0.0], 0.11)
        bone(f"{side}_knee", swung(hips[i], sign * 0.05), 0.42)
        bone(f"{side}_ankle", swung(hips[i] - knees[i], sign * 0.05), 0.41)
        bone(f"{side}_shoulder", [0.0, sign, 0.0], 0.19)
        bone(f"{side}_elbow", swung(shoulders[i], sign * spread), 0.28)
        bone(f"{side}_wrist", swung(shoulders[i] + elbows[i], sign * spread), 0.26)
    turn = torch.tensor(
        [
            [math.cos(heading), -math.sin(heading), 0.0],
            [math.sin(heading), math.cos(heading), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    motion = assemble(offsets) @ turn.T
    motion = motion + (pace * time)[:, None, None] * turn[:, 0]
    motion[..., 2] -= motion[..., 2].amin(-1, keepdim=True)
    return motion


def windows(batch=24, frames=27, seed=0):
    """(B, T, 17, 3) m: people who walk, squat and reach, of all sizes and headings."""
    generator = torch.Generator().manual_seed(seed)
    people = []
    for number in range(batch):
        speed, phase, height, heading, size = torch.rand(5, generator=generator).tolist()
        time = torch.arange(frames) / MODEL_RATE_HZ
        swing = 2 * math.pi * ((0.5 + 0.8 * speed) * time + phase)
        common = {
            "spread": 0.2 + 0.5 * size,
            "height": 0.8 + 0.4 * height,
            "heading": 2 * math.pi * heading,
        }
        wave = 0.5 + 0.5 * swing.sin()
        if number % 3 == 0:
            angles = [
                [0.4 * swing.sin(), -0.4 * swing.sin()],
                [0.1 + 0.5 * wave, 0.6 - 0.5 * wave],
                [-0.4 * swing.sin(), 0.4 * swing.sin()],
                [0.4 + 0.2 * wave, 0.6 - 0.2 * wave],
            ]
        elif number % 3 == 1:
            angles = [[1.2 * wave] * 2, [1.9 * wave + 0.05] * 2, [1.4 * wave] * 2, [0.3 * wave] * 2]
        else:
            still = torch.full_like(time, 0.1)
            angles = [[still] * 2, [still] * 2, [0.3 + 2 * wave, still], [1.2 - wave, 0.5 + wave]]
        people.append(person(time, *angles, pace=1.2 * (number % 3 == 0), **common))
    return torch.stack(people)
