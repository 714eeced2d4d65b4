"""The pinhole camera: from CameraInfo or YAML, undistortion, rays, and the canonical view.

Frames: the camera's optical frame, x right, y down, z forward (REP-103). A ray is written as its
point on the plane z = 1.

The functions of the canonical view take numpy arrays and torch tensors alike (by the array API), so
that training and the live engine share them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

_FISHEYE_MODELS = ("equidistant", "fisheye")
_RADIAL_MODELS = ("plumb_bob", "rational_polynomial", "thin_prism_fisheye", "")


class CameraError(ValueError):
    """Intrinsics that no picture can have been taken with."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        matrix: K (3, 3), px.
        distortion: (N,) coefficients in OpenCV's order; empty for none.
        size: (width, height), px.
        model: the name of the distortion model as in sensor_msgs/CameraInfo.

    Raises:
        CameraError: at construction, when a value is not finite or a focal length or a size is not
            positive.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = "plumb_bob"

    def __post_init__(self) -> None:
        matrix: np.ndarray = np.asarray(self.matrix, dtype=np.float64).reshape(-1)
        distortion = np.asarray(self.distortion, dtype=np.float64).reshape(-1)
        if matrix.size != 9:
            raise CameraError(f"K must have 9 values, has {matrix.size}")
        matrix = matrix.reshape(3, 3)
        if not (np.isfinite(matrix).all() and np.isfinite(distortion).all()):
            raise CameraError("K or D has values that are not finite")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise CameraError("K has a focal length that is not positive")
        if self.size[0] <= 0 or self.size[1] <= 0:
            raise CameraError(f"image size {self.size} is not positive")
        if self.model not in _RADIAL_MODELS + _FISHEYE_MODELS:
            raise CameraError(f"unknown distortion model {self.model!r}")
        if self.model in _FISHEYE_MODELS and distortion.size not in (0, 4):
            raise CameraError(f"a fisheye has 4 coefficients, not {distortion.size}")
        if self.model in _RADIAL_MODELS and distortion.size not in (0, 4, 5, 8, 12, 14):
            raise CameraError(f"D has {distortion.size} values; 0, 4, 5, 8, 12 or 14 are known")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float) -> Camera:
        """An ideal camera with square pixels and the given horizontal field of view, degrees."""
        if not 1.0 <= fov_deg <= 170.0:
            raise CameraError(f"a field of view of {fov_deg} degrees is outside 1..170")
        focal = 0.5 * width / math.tan(math.radians(fov_deg) / 2)
        matrix = np.array(
            [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=float
        )
        return cls(matrix, (width, height))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Camera:
        """Read a file as written by ROS's camera_calibration.

        Raises:
            CameraError: the file cannot be read or lacks what it needs; the message names it.
        """
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text())
            return cls(
                np.asarray(data["camera_matrix"]["data"], dtype=float),
                (int(data["image_width"]), int(data["image_height"])),
                np.asarray(data.get("distortion_coefficients", {}).get("data", []), dtype=float),
                str(data.get("distortion_model", "plumb_bob")),
            )
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            # YAML's messages have several lines.
            why = " ".join(str(error).split())
            raise CameraError(f"cannot read the camera file {path}: {why}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise CameraError(f"{path} is no camera_calibration file: {error!r}") from None
        except (ValueError, OverflowError) as error:
            raise CameraError(f"{path}: {error}") from None

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same camera delivering another resolution of the same picture.

        Raises:
            CameraError: the aspect ratio differs by more than 1 %: then the picture was cropped and
                these intrinsics do not hold.
        """
        if (width, height) == self.size:
            return self
        sx, sy = width / self.size[0], height / self.size[1]
        if abs(sx / sy - 1) > 0.01:
            raise CameraError(
                f"intrinsics are for {self.size[0]}x{self.size[1]}, the image is {width}x{height}"
            )
        # Pixel centres lie at whole numbers, so the grids are half a pixel off each other's scale.
        scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
        return Camera(scale @ self.matrix, (width, height), self.distortion, self.model)

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Pixels to rays, with the lens's distortion taken out.

        Args:
            points: (..., 2) px; NaN stays NaN.

        Returns:
            (..., 2): x/z and y/z. NaN where the lens model has no ray that ends at the pixel.
        """
        points = np.asarray(points, dtype=np.float64)
        flat = points.reshape(-1, 2) - self._skew(points.reshape(-1, 2))
        if not self.distortion.any() and self.model not in _FISHEYE_MODELS:
            focal = self.matrix[[0, 1], [0, 1]]
            return ((flat - self.matrix[:2, 2]) / focal).reshape(points.shape)
        import cv2

        rays = np.full_like(flat, np.nan)
        # Far outside the picture the polynomial folds back on itself and any answer is made up.
        margin = max(self.size)
        usable = np.isfinite(flat).all(axis=-1) & (np.abs(flat) < 3 * margin).all(axis=-1)
        if usable.any():
            source = flat[usable][:, None]
            if self.model in _FISHEYE_MODELS:
                coefficients = self.distortion if self.distortion.size else np.zeros(4)
                found = cv2.fisheye.undistortPoints(source, self.matrix, coefficients)
            else:
                criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-8)
                found = cv2.undistortPointsIter(
                    source, self.matrix, self.distortion, np.eye(3), np.eye(3), criteria
                )
            found = found[:, 0]
            # A solver that did not converge lands elsewhere when projected again.
            again = self._distort(found)
            error = np.linalg.norm(again - flat[usable], axis=-1)
            found[~(error < 1.0)] = np.nan
            rays[usable] = found
        return rays.reshape(points.shape)

    def _skew(self, points: np.ndarray) -> np.ndarray:
        """How far K's skew moves pixels (N, 2), px; OpenCV leaves it out."""
        along = self.matrix[0, 1] * (points[:, 1] - self.matrix[1, 2]) / self.matrix[1, 1]
        return np.stack([along, np.zeros_like(along)], axis=-1)

    def _distort(self, rays: np.ndarray) -> np.ndarray:
        """(N, 2) rays to (N, 2) px, as of a camera without skew."""
        import cv2

        points = np.concatenate([rays, np.ones((len(rays), 1))], axis=-1)[:, None]
        zero = np.zeros(3)
        if self.model in _FISHEYE_MODELS:
            coefficients = self.distortion if self.distortion.size else np.zeros(4)
            return cv2.fisheye.projectPoints(points, zero, zero, self.matrix, coefficients)[0][:, 0]
        return cv2.projectPoints(points, zero, zero, self.matrix, self.distortion)[0][:, 0]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points in the optical frame to pixels.

        Args:
            points: (..., 3) m.

        Returns:
            (..., 2) px; NaN for points that are not in front of the camera.
        """
        points = np.asarray(points, dtype=np.float64)
        flat = points.reshape(-1, 3)
        pixels = np.full((len(flat), 2), np.nan)
        seen = np.isfinite(flat).all(axis=-1) & (flat[:, 2] > 1e-6)
        if seen.any():
            straight = self._distort(flat[seen, :2] / flat[seen, 2:])
            pixels[seen] = straight + self._skew(straight)
        return pixels.reshape(*points.shape[:-1], 2)


@dataclass
class CanonicalWindow:
    """One or more windows of keypoints as the model takes them.

    Attributes:
        keypoints: (B, T, J, 3): x, y in units of the window's scale, score; zeros where missing.
        rotation: (B, 3, 3): from the camera's optical frame to the virtual camera's.
        valid: (B,): the window has enough keypoints to be centred and scaled.
    """

    keypoints: Any
    rotation: Any
    valid: Any


def look_at_rotation(direction: Any) -> Any:
    """The smallest rotation that turns a direction onto the optical axis.

    It keeps the camera's roll about its axis as nearly as can be, so that "down" stays down.

    Args:
        direction: (..., 3), any length, z > 0.

    Returns:
        (..., 3, 3) R with R @ direction on +z. Rodrigues' formula for the axis d x z.
    """
    xp = array_api_compat.array_namespace(direction)
    d = direction / xp.sqrt(xp.sum(direction**2, axis=-1, keepdims=True))
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    k = 1.0 / (1.0 + z)
    rows = [
        xp.stack([1.0 - x * x * k, -x * y * k, -x], axis=-1),
        xp.stack([-x * y * k, 1.0 - y * y * k, -y], axis=-1),
        xp.stack([x, y, z], axis=-1),
    ]
    return xp.stack(rows, axis=-2)


def canonical_window(rays: Any, scores: Any) -> CanonicalWindow:
    """Make windows of rays independent of the camera that saw them.

    A virtual camera looks along the window's mean ray to the person; what it sees is divided by one
    scale for the whole window, so that neither focal length nor resolution nor the place in the
    picture is left in the numbers, while motion across the window stays.

    Args:
        rays: (B, T, J, 2), finite; what stands at score 0 is ignored.
        scores: (B, T, J) 0..1; 0 marks a missing keypoint.

    Returns:
        the windows, in the arrays' own library and type.
    """
    xp = array_api_compat.array_namespace(rays, scores)
    seen = xp.astype(scores > 0, rays.dtype)
    count = xp.sum(seen, axis=(1, 2))
    # The unit rays' mean, not the plane points' mean: the latter leans outwards at wide angles.
    lifted = xp.concat([rays, xp.ones_like(rays[..., :1])], axis=-1)
    unit = lifted / xp.sqrt(xp.sum(lifted**2, axis=-1, keepdims=True))
    axis = xp.sum(unit * seen[..., None], axis=(1, 2))
    forward = xp.asarray([0.0, 0.0, 1.0], dtype=axis.dtype, device=array_api_compat.device(axis))
    ahead = xp.zeros_like(axis) + forward
    axis = xp.where((count > 0)[:, None], axis, ahead)
    rotation = look_at_rotation(axis)
    turned = xp.sum(rotation[:, None, None] * lifted[..., None, :], axis=-1)
    # Rays more than 84 degrees off the window's mean are no part of one person.
    in_front = turned[..., 2] > 0.1
    depth = xp.where(in_front, turned[..., 2], xp.ones_like(turned[..., 2]))
    plane = turned[..., :2] / depth[..., None]
    seen = seen * xp.astype(in_front, rays.dtype)
    count = xp.sum(seen, axis=(1, 2))
    total = xp.where(count > 0, count, xp.ones_like(count))
    spread = xp.sum(plane**2 * seen[..., None], axis=(1, 2, 3)) / total
    valid = (count >= 6) & (spread > 1e-10)
    scale = xp.sqrt(xp.where(valid, spread, xp.ones_like(spread)))
    xy = plane / scale[:, None, None, None] * seen[..., None]
    keypoints = xp.concat([xy, (scores * seen)[..., None]], axis=-1)
    return CanonicalWindow(keypoints, rotation, valid)


def image_width_window(keypoints: Any, image_size: tuple[int, int]) -> Any:
    """The published networks' normalisation: x to -1..1 over the width, y by the same scale.

    It knows neither the camera's focal length nor where it looks, so that what a network learns
    with it holds for the cameras it was trained on.

    Args:
        keypoints: (..., 3) x, y in pixels and score, which stays.
        image_size: width and height, pixels.

    Returns:
        (..., 3), in the array's own library and type.
    """
    xp = array_api_compat.array_namespace(keypoints)
    width, height = image_size
    if width <= 0 or height <= 0:
        raise CameraError(f"an image cannot be {width} x {height} pixels")
    x = keypoints[..., :1] * (2.0 / width) - 1.0
    y = keypoints[..., 1:2] * (2.0 / width) - height / width
    return xp.concat([x, y, keypoints[..., 2:]], axis=-1)
