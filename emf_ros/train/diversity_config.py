"""Settings of the changes that `diversity` makes."""

from __future__ import annotations

from dataclasses import dataclass

from .setting_ranges import (
    HALF_TURN_DEG,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check_limits,
    check_numbers,
)

#: Change of a bone's length, as a share. A bone that is shorter by 1 has no length.
_CHANGE = Range(0, 1, below=True)


@dataclass(frozen=True)
class DiversityConfig:
    """Probability and size of each change of a window.

    Attributes:
        limbs: probability of `recombine_limbs`.
        limb_share: probability that a limb of such a window is replaced.
        halves: probability of `recombine_halves`.
        keys: probability of `key_poses`.
        key_interval_s: range of the time between two key poses, s.
        key_turn_deg: maximum turn about the vertical between two key poses, degrees.
        key_step_m: maximum step in x and in y between two key poses, m.
        rotations: probability of `random_rotations`.
        swing_deg: standard deviation of the added rotation of upper bones about each axis, degrees.
        flexion_deg: standard deviation of the added flexion of knees and elbows, degrees.
        twist_deg: standard deviation of the added twist of limbs, degrees.
        frequency_hz: range of the frequencies of these rotations, Hz.
        lengths: probability of `change_bone_lengths`.
        leg_length, arm_length, trunk_length, head_length, shoulder_width, hip_width: maximum
            change of each group of bones, as a share.
        bone_length: maximum further change of one bone and of its mirror image, as a share.
        tilt: probability of `tilt_body`.
        tilt_deg: maximum rotation, degrees.
        tilt_constant: share of the tilted windows with a constant tilt; the others fall.
        fall_s: range of the duration of a fall, s.
    """

    limbs: float = 0.3
    limb_share: float = 0.5
    halves: float = 0.15
    keys: float = 0.15
    key_interval_s: tuple[float, float] = (0.5, 1.5)
    key_turn_deg: float = 60.0
    key_step_m: float = 0.4
    rotations: float = 0.25
    swing_deg: float = 20.0
    flexion_deg: float = 25.0
    twist_deg: float = 15.0
    frequency_hz: tuple[float, float] = (0.1, 0.8)
    lengths: float = 0.5
    leg_length: float = 0.08
    arm_length: float = 0.08
    trunk_length: float = 0.08
    head_length: float = 0.08
    shoulder_width: float = 0.1
    hip_width: float = 0.1
    bone_length: float = 0.03
    tilt: float = 0.1
    tilt_deg: float = 180.0
    tilt_constant: float = 0.5
    fall_s: tuple[float, float] = (0.6, 1.8)

    def __post_init__(self) -> None:
        shares = ("limbs", "limb_share", "halves", "keys", "rotations", "lengths", "tilt")
        check_numbers(self, dict.fromkeys((*shares, "tilt_constant"), SHARE))
        lengths = ("leg_length", "arm_length", "trunk_length", "head_length")
        widths = ("shoulder_width", "hip_width")
        check_numbers(self, dict.fromkeys((*lengths, *widths, "bone_length"), _CHANGE))
        check_numbers(self, dict.fromkeys(("key_turn_deg", "tilt_deg"), HALF_TURN_DEG))
        sizes = ("key_step_m", "swing_deg", "flexion_deg", "twist_deg")
        check_numbers(self, dict.fromkeys(sizes, NOT_NEGATIVE))
        limits = ("key_interval_s", "frequency_hz", "fall_s")
        check_limits(self, dict.fromkeys(limits, POSITIVE))
