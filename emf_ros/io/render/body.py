"""One body of layout h36m17, limbs in the order of their depth."""

from __future__ import annotations

import numpy as np

from ...skeletons import H36M17
from .drawing import dot, line
from .palette import DARK, Color, bone_side

_NOSE = H36M17.index("nose")
_HEAD_TOP = H36M17.index("head_top")
_BONES = tuple((edge, bone_side(H36M17, edge)) for edge in H36M17.edges)


def draw_body(
    image: np.ndarray,
    pixels: np.ndarray,
    depths: np.ndarray,
    shades: dict[str, Color],
    unit: float,
) -> None:
    """Draw one person of layout h36m17, the far parts first.

    Args:
        pixels: (17, 2) px; NaN joints and bones with a NaN end are left out.
        depths: (17,) larger is farther away.
        shades: colour for each side, of `palette.side_colors`.
        unit: width of a limb, px.
    """
    known = np.isfinite(pixels).all(axis=-1)
    thick = max(2, round(unit))
    rim = thick + max(2, round(0.5 * unit))
    bones = [
        (float(depths[a] + depths[b]), a, b, side)
        for (a, b), side in _BONES
        if known[a] and known[b]
    ]
    for _, a, b, side in sorted(bones, reverse=True):
        # The dark rim separates a limb from the one behind it.
        line(image, pixels[a], pixels[b], DARK, rim)
        line(image, pixels[a], pixels[b], shades[side], thick)
    for joint in sorted(np.flatnonzero(known), key=lambda j: -depths[j]):
        shade = shades[H36M17.sides[joint]]
        dot(image, pixels[joint], 0.95 * unit, DARK)
        dot(image, pixels[joint], 0.7 * unit, shade)
    if known[_NOSE] and known[_HEAD_TOP]:
        # A round head shows at a glance which end of the body is up.
        middle = 0.5 * (pixels[_NOSE] + pixels[_HEAD_TOP])
        radius = 2.1 * unit
        dot(image, middle, radius + 0.25 * unit, DARK)
        dot(image, middle, radius, shades["middle"])
