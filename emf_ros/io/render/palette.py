"""Colours: one for each track id, shades for the body's sides, and those of the scene."""

from __future__ import annotations

import colorsys

from ...skeletons import Layout

#: Blue, green, red, each 0..255.
Color = tuple[int, int, int]

# Hue (degrees), saturation and value of each colour, chosen by eye: equal steps of hue do not look
# equally different. Neighbouring ids often share an image, so their colours differ most. The
# luminance of each is in the middle: visible on black and on white.
_PALETTE = (
    (210, 0.72, 1.00),  # azure
    (24, 0.82, 1.00),  # orange
    (135, 0.65, 0.80),  # green
    (316, 0.58, 0.97),  # magenta
    (55, 0.80, 0.90),  # yellow
    (255, 0.50, 1.00),  # violet
    (175, 0.80, 0.80),  # teal
    (355, 0.70, 0.95),  # red
    (92, 0.72, 0.76),  # lime
    (338, 0.34, 1.00),  # pink
)

BACKGROUND: Color = (33, 29, 27)
PANEL: Color = (25, 22, 21)
FLOOR: Color = (47, 42, 39)
GRID: Color = (68, 62, 58)
AXIS: Color = (112, 104, 98)
SHADOW: Color = (22, 19, 18)
MUTED: Color = (158, 150, 144)
TEXT: Color = (226, 222, 218)
DARK: Color = (20, 18, 17)


def rgb_of(track_id: int) -> tuple[float, float, float]:
    """Red, green, blue 0..1 of a track id; the same id always has the same colour."""
    hue, saturation, value = _PALETTE[(int(track_id) - 1) % len(_PALETTE)]
    return colorsys.hsv_to_rgb(hue / 360, saturation, value)


def color_of(track_id: int) -> Color:
    """Blue, green, red 0..255 of a track id; the same id always has the same colour."""
    r, g, b = rgb_of(track_id)
    return round(255 * b), round(255 * g), round(255 * r)


def mixed(color: Color, other: Color, share: float) -> Color:
    """A colour that contains the given share (0..1) of another colour."""
    a, b, c = (round((1 - share) * p + share * q) for p, q in zip(color, other, strict=True))
    return a, b, c


def side_colors(color: Color) -> dict[str, Color]:
    """A person's shades: the right side is lighter, the left side is darker."""
    return {
        "left": mixed(color, (0, 0, 0), 0.30),
        "middle": color,
        "right": mixed(color, (255, 255, 255), 0.50),
    }


def bone_side(layout: Layout, edge: tuple[int, int]) -> str:
    """The side of a bone: "middle" where its two joints are on different sides."""
    sides = {layout.sides[i] for i in edge} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"
