"""Pictures of calibration boards through a known distorted camera, and simulated walking people."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from emf_ros.calibrate.board import Found
from emf_ros.calibrate.people import ALIKE_S, ANKLE, EAR, Walkers
from emf_ros.calibrate.views import Views
from emf_ros.geometry.camera import Camera
from emf_ros.lift.ground import GroundPlane

#: Side of a square in the pictures of the boards, px.
SQUARE_PX = 40

#: The camera that looks at the boards.
CAMERA = Camera(
    np.array([[520.0, 0, 331.0], [0, 524.0, 233.0], [0, 0, 1]]),
    (640, 480),
    np.array([-0.25, 0.07, 0.001, -0.0008, 0.0]),
)


def checkerboard(columns: int, rows: int) -> np.ndarray:
    """A picture of a checkerboard with that many inner corners and a white margin."""
    y, x = np.mgrid[: rows + 1, : columns + 1]
    squares = np.kron(((x + y) % 2 * 255).astype(np.uint8), np.ones((SQUARE_PX, SQUARE_PX)))
    margin = ((SQUARE_PX, SQUARE_PX),) * 2
    return np.pad(squares.astype(np.uint8), margin, constant_values=255)


def charuco(columns: int, rows: int, dictionary: str, ratio: float) -> np.ndarray:
    """A picture of a ChArUco board with a white margin, drawn by OpenCV."""
    markers = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    size = (columns * SQUARE_PX, rows * SQUARE_PX)
    if hasattr(cv2.aruco, "CharucoBoard_create"):
        drawn = cv2.aruco.CharucoBoard_create(columns, rows, 1.0, ratio, markers).draw(size)
    else:
        board: Any = cv2.aruco.CharucoBoard((columns, rows), 1.0, ratio, markers)
        drawn = board.generateImage(size)
    return np.pad(drawn, SQUARE_PX, constant_values=255)


@functools.cache
def _rays() -> np.ndarray:
    """(H * W, 3), of each pixel of the camera."""
    x, y = np.meshgrid(*(np.arange(side) for side in CAMERA.size))
    flat = CAMERA.rays(np.stack([x, y], axis=-1).reshape(-1, 2))
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=-1)


def poses(size: tuple[float, float], count: int, max_tilt: float, seed: int) -> Iterator[tuple]:
    """Rotations (3, 3) and places (3,) of a board, turned about its middle."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        tilt = rng.uniform(-max_tilt, max_tilt, 2)
        turn, _ = cv2.Rodrigues(np.array([*tilt, rng.uniform(-0.3, 0.3)]))
        z = rng.uniform(13, 18)
        place = np.array([rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3), 1.0]) * z
        yield turn, place - turn @ np.array([*size, 0]) / 2


def pictures(
    board: np.ndarray, count: int, max_tilt: float = 0.6, seed: int = 0
) -> Iterator[np.ndarray]:
    """Grey pictures of a board at random poses.

    Args:
        board: its picture.
        count: number of pictures.
        max_tilt: angle about the axes across the camera's, rad.
    """
    rng = np.random.default_rng(seed)
    width, height = CAMERA.size
    rays = _rays()
    size = (board.shape[1] / SQUARE_PX, board.shape[0] / SQUARE_PX)
    for turn, place in poses(size, count, max_tilt, seed):
        normal = turn[:, 2]
        points = rays * ((normal @ place) / (rays @ normal))[:, None] - place
        at = (points @ turn[:, :2] * SQUARE_PX - 0.5).astype(np.float32)
        maps = at.reshape(height, width, 2)
        seen = cv2.remap(board, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderValue=128)
        noisy = cv2.GaussianBlur(seen, (0, 0), 0.7) + rng.normal(0, 3, seen.shape)
        yield noisy.clip(0, 255).astype(np.uint8)


def views_of(count: int, max_tilt: float = 0.6) -> Views:
    """Views of a checkerboard of 9x6 corners, which are found with an error of 0.1 px."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:6, :9]
    points = np.stack([x, y], axis=-1).reshape(-1, 2).astype(float)
    flat = np.pad(points, ((0, 0), (0, 1)))
    views = Views(CAMERA.size)
    for number, (turn, place) in enumerate(poses((8, 5), count, max_tilt, 3)):
        pixels = CAMERA.project(flat @ turn.T + place) + rng.normal(0, 0.1, points.shape)
        views.add(Found(points, pixels), str(number))
    return views


def walking_people(
    focal_px: float, pitch_deg: float, camera_m: float, height_m: float, seed: int = 0
) -> tuple[Walkers, tuple[int, int]]:
    """Two people who walk about for a minute, with gait, lean and a detector's noise.

    Returns:
        the people, and the size of the images, px.
    """
    rng, size = np.random.default_rng(seed), (1280, 720)
    up = GroundPlane(camera_m, math.radians(pitch_deg)).up
    ahead = np.array([0, 0, 1.0]) - up * up[2]
    ahead /= np.linalg.norm(ahead)
    right = np.cross(-up, ahead)
    t = np.arange(0, 60, 0.1)
    rows: list[list[np.ndarray]] = [[], [], []]
    for person in range(2):
        a = rng.uniform(0, 6.28, 3)
        z = 5 + 2.5 * np.sin(t / 7 * (1 + 0.3 * person) + a[0]) + np.sin(t / 3.1 + a[1])
        x = 0.45 * np.sin(t / 5 + a[2]) * z
        way = np.stack([np.gradient(x, t), np.gradient(z, t)], axis=-1)
        way /= np.linalg.norm(way, axis=-1, keepdims=True)
        sway = np.sin(2 * np.pi * 0.9 * t)[:, None]
        lean = height_m * (0.02 * way + 0.01 * sway * way[:, ::-1])
        floor = -camera_m * up + x[:, None] * right + z[:, None] * ahead
        feet = floor + (ANKLE * height_m + 0.03 * np.abs(sway)) * up
        heads = floor + EAR * height_m * up + lean[:, :1] * right + lean[:, 1:] * ahead
        pixels = [
            focal_px * points[:, :2] / points[:, 2:] + (np.array(size) - 1) / 2
            for points in (feet, heads)
        ]
        tall = np.linalg.norm(pixels[1] - pixels[0], axis=-1, keepdims=True)
        pixels = [p + 0.012 * tall * rng.normal(size=p.shape) for p in pixels]
        inside = np.all([(p > 0) & (p < size) for p in pixels], axis=(0, 2))
        periods = np.floor(t / ALIKE_S).astype(int) + 1000 * person
        for row, values in zip(rows, (*pixels, periods), strict=True):
            row.append(values[inside])
    feet, heads, periods = (np.concatenate(row) for row in rows)
    return Walkers(feet, heads, np.unique(periods, return_inverse=True)[1].reshape(-1)), size
