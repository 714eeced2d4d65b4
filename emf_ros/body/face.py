"""How far a head is turned about the neck, by the nose and the ears in the image.

The lifted joints show a head by its nose alone. The two ears are what tells its turn: the nose lies
before the middle between them, and their distance in the image shrinks as the head turns. A head of
typical size is laid over them. Its turn is what fits best, weighed against the lifted one.

Eyes are left out. BlazePose's lie between nose and ears with the same errors: they correlate with
those of the nose by 0.96.

Shapes: P people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rotations import clipped, cross

#: The points of a face, in the order of the arrays.
POINTS = ("nose", "left_ear", "right_ear")

#: Distance of the nose before the middle of the ears, as a share of the trunk, from pelvis to
#: thorax. Four people in videos: 0.15 to 0.17.
NOSE_FORWARD = 0.165
#: Height of the nose over the ears, as a share of the trunk. The same people: -0.02 to -0.07.
NOSE_UP = -0.03
#: Distance of the ears, as a share of the trunk: 145 mm between the tragi of men (ANSUR II, Gordon
#: et al. 2014) of 0.52 m. The detector's ears of two people who face the camera: 0.22 and 0.26.
EARS_APART = 0.28
#: Standard deviation of a point in the image along each axis, as a share of the trunk there. It is
#: that part of the error which nose and ears do not share, with the differences between heads.
POINT_SPREAD = 0.025
#: Minimum score of a point that is used.
MIN_SCORE = 0.5
#: Maximum turn against the lifted head, rad: beyond it the image is not linear.
MAX_TURN_RAD = 0.6

#: Maximum misfit of a face that is used, chi-squared of up to four numbers.
MAX_MISFIT = 30.0

#: Maximum cosine between the directions of a lifted head and of the view to it. Over it, at 120
#: degrees, nose and ears are hidden, and the detector guesses them.
MAX_AWAY = 0.5

_NOSE = np.array([NOSE_FORWARD, NOSE_UP, 0.0])
#: (2, 3) from the left and from the right ear to the nose, in the head's axes.
_LINES = np.array([_NOSE + (0.0, 0.0, side * 0.5 * EARS_APART) for side in (1.0, -1.0)])
#: (4, 3) these lines, and how they move with a turn about y; by shares of the x, y and -z axis.
_BASIS = np.concatenate([_LINES, np.cross((0.0, 1.0, 0.0), _LINES)]) * (1.0, 1.0, -1.0)
#: (4, 2, 2) inverse covariances of the lines along an axis of the image, in trunks: of neither ear,
#: the left one, the right one, and both. The nose is an end of both lines.
_WEIGHTS = np.zeros((4, 2, 2))
_WEIGHTS[1, 0, 0] = _WEIGHTS[2, 1, 1] = 0.5
_WEIGHTS[3] = np.linalg.inv(np.array([[2.0, 1.0], [1.0, 2.0]]))
_WEIGHTS /= POINT_SPREAD**2
_EARS = np.array([1, 2])
_FOUR = np.ones(4)


@dataclass
class Faces:
    """The faces of people in one image. Unknown is NaN.

    Attributes:
        points: (P, 3, 3) rays x / z and y / z in the camera's optical frame, and scores.
        depth_m: (P,) distance of the head along the optical axis.
        trunk_m: (P,) length of the trunk.
        camera: (3, 3) rotation from the optical frame to the frame of the joints.
    """

    points: np.ndarray
    depth_m: np.ndarray
    trunk_m: np.ndarray
    camera: np.ndarray


def turned_heads(
    faces: Faces, up: np.ndarray, forward: np.ndarray, twist_rad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Heads with the turn about the neck that fits the faces, too.

    Args:
        faces: of the people.
        up, forward: (P, 3) y and x axis of the lifted head, of length 1.
        twist_rad: (P,) standard deviation of the turn about y.

    Returns:
        the x axes (P, 3), and the standard deviations (P,) of the turn. As given where a face is
        not seen.
    """
    people, left = len(up), cross(up, forward)
    rays, seen = faces.points[..., :2], faces.points[..., 2] >= MIN_SCORE
    ears = seen[:, 1:] & seen[:, :1]
    # (3, P, 3) x, y and -z axis in the optical frame.
    axes = np.concatenate([forward, up, left]).dot(faces.camera).reshape(3, people, 3)
    nose = rays[:, 0]
    away = axes[0, :, 2] + axes[0, :, 0] * nose[:, 0] + axes[0, :, 1] * nose[:, 1]
    # (4, P, 2) in the image, in trunks: the lines of the lifted head, and their change.
    lines = _BASIS.dot(axes.reshape(3, 3 * people)).reshape(4, people, 3)
    shown = lines[..., :2] - nose * lines[..., 2:]
    found = (nose - rays[:, 1:].swapaxes(0, 1)) * (faces.depth_m / faces.trunk_m)[:, None]
    # (P, 2, 2) a row for each axis of the image, a column for each ear.
    rest = np.where(ears.T[..., None], found - shown[:2], 0.0).transpose(1, 2, 0)
    change = shown[2:].transpose(1, 2, 0)
    weights = _WEIGHTS.take(ears.dot(_EARS), 0)
    weighted = (change @ weights).reshape(people, 4)
    gained = (weighted * change.reshape(people, 4)).dot(_FOUR)
    precision = gained + 1.0 / (twist_rad * twist_rad)
    turn = (weighted * rest.reshape(people, 4)).dot(_FOUR) / precision
    turn = clipped(turn, -MAX_TURN_RAD, MAX_TURN_RAD)
    off = rest - turn[:, None, None] * change
    misfit = ((off @ weights) * off).reshape(people, 4).dot(_FOUR)
    known = (gained > 0.0) & (misfit < MAX_MISFIT) & (away < MAX_AWAY)
    known &= np.isfinite(turn + twist_rad)
    # A turn about y is one to the left.
    turn = np.where(known, turn, 0.0)[:, None]
    return forward * np.cos(turn) + left * np.sin(turn), np.where(
        known, 1.0 / np.sqrt(precision), twist_rad
    )
