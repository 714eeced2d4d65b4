"""Which posture recorded motion shows, by rules on the exact joints.

Frames between two postures, and those of jumps, rolls and crawls, have none. Rules on the heights
over the true floor, the inclination of the trunk, and the true speed.
"""

from __future__ import annotations

import numpy as np

from emf_ros.body.angles import inner_angle
from emf_ros.body.posture import POSTURES
from emf_ros.body.rotations import unit
from emf_ros.skeletons import H36M17

#: Label of a frame that shows none.
NONE = -1
#: Label of a fall: it follows the postures.
FALLING = len(POSTURES)

_I = H36M17.index


def _sides(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, [_I(f"left_{name}"), _I(f"right_{name}")]]


def _velocity(values: np.ndarray, half_s: float, rate_hz: float) -> np.ndarray:
    """Central differences over twice a time, of (T, ...) values, 1/s."""
    reach = max(1, round(half_s * rate_hz))
    index = np.arange(len(values))
    before, after = np.maximum(index - reach, 0), np.minimum(index + reach, len(values) - 1)
    span = np.maximum(after - before, 1) / rate_hz
    return (values[after] - values[before]) / span.reshape(-1, *(1,) * (values.ndim - 1))


def posture_labels(joints: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T, 17, 3) m, z up, floor at z = 0 -> (T,) index in `POSTURES`, `FALLING` or `NONE`."""
    height = joints[..., 2]
    hips, knees, ankles = (_sides(joints, name) for name in ("hip", "knee", "ankle"))
    lengths = np.linalg.norm(hips - knees, axis=-1) + np.linalg.norm(knees - ankles, axis=-1)
    leg = float(np.median(lengths))
    trunk = unit(joints[:, _I("thorax")] - joints[:, 0])
    lean = np.degrees(np.arccos(np.clip(trunk[:, 2], -1, 1)))
    over_ankle = (height[:, 0] - ankles[..., 2].min(axis=1)) / leg
    pelvis, head = height[:, 0] / leg, height[:, _I("head_top")] / leg
    bend = 180 - np.degrees(inner_angle(hips, knees, ankles)).min(axis=1)
    thigh = unit(knees - hips)[..., 2]
    aside = np.linalg.norm((ankles.mean(axis=1) - joints[:, 0])[:, :2], axis=-1) / leg
    knee, ankle = knees[..., 2] / leg, ankles[..., 2] / leg
    speed = np.linalg.norm(_velocity(joints[:, 0, :2], 0.3, rate_hz), axis=-1)
    rise = _velocity(height[:, [0, _I("head_top")]], 0.15, rate_hz)

    upright = (lean < 35) & (over_ankle > 0.85)
    kneels = (knee.min(axis=1) < 0.22) & (lean < 50) & (pelvis > 0.2)
    kneels &= np.where(knee < 0.22, thigh, 0.0).min(axis=1) < -0.3
    sits = (lean < 50) & (pelvis < 0.75) & (speed < 0.4) & (aside > 0.25) & ~kneels
    sits &= (thigh.max(axis=1) > -0.6) & (thigh.max(axis=1) < 0.6) & (thigh.min(axis=1) > -0.75)
    sits &= knee.min(axis=1) > 0.25
    on_floor = (lean < 50) & (pelvis < 0.28) & (speed < 0.4) & (aside > 0.35)
    on_floor &= np.abs(rise[:, 0]) < 0.3
    crouches = (over_ankle < 0.72) & (bend > 60) & (aside < 0.22) & (lean < 70)
    crouches &= (knee.min(axis=1) > 0.25) & (pelvis < 0.8) & (ankle.max(axis=1) < 0.25) & ~sits
    bends = (lean > 50) & (lean < 140) & (over_ankle > 0.72) & (speed < 0.8) & (bend < 60)
    bends &= ankle.min(axis=1) < 0.2
    lies = (lean > 60) & (pelvis < 0.35) & (head < 0.55) & (np.abs(rise[:, 0]) < 0.6)
    low = (pelvis < 0.45) & (lean > 40)
    ahead = round(1.0 * rate_hz)
    soon = np.array([low[i : i + ahead].any() for i in range(len(low))])
    falls = (rise[:, 1] < -1.2) & soon & (pelvis > 0.25)

    out = np.full(len(joints), NONE)
    for name, shown in (
        ("standing", upright & (speed < 0.25)),
        ("walking", upright & (speed > 0.5) & (speed < 2.0)),
        ("running", (lean < 50) & (over_ankle > 0.7) & (speed > 2.6)),
        ("sitting", sits | on_floor),
        ("crouching", crouches),
        ("kneeling", kneels),
        ("bending", bends),
        ("lying", lies),
    ):
        out[shown] = POSTURES.index(name)
    out[falls] = FALLING
    return out
