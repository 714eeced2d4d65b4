"""The pinhole camera: intrinsics, undistortion, rays, and the canonical view.

Frames: the camera's optical frame, x right, y down, z forward (REP-103). A ray is written as its
point on the plane z = 1.

The functions of the canonical view take numpy arrays and torch tensors alike (by the array API), so
that training and the live engine share them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

#: Field of view that is guessed where nothing is known of a camera, degrees across the longer side.
DEFAULT_FOV_DEG = 60.0

#: Field of view under which intrinsics look wrong, degrees.
MIN_LIKELY_FOV_DEG = 5.0

#: Field of view above which intrinsics without a fisheye model look wrong, degrees.
MAX_LIKELY_FOV_DEG = 170.0

#: Field of view above which intrinsics of a fisheye look wrong, degrees.
MAX_LIKELY_FISHEYE_FOV_DEG = 250.0

#: Ratio of the focal lengths, in pixels, above which intrinsics look wrong.
MAX_LIKELY_FOCAL_RATIO = 2.0

_FISHEYE_MODELS = ("equidistant", "fisheye")
_RADIAL_MODELS = ("plumb_bob", "rational_polynomial", "thin_prism_fisheye")

#: Other programs' names of the radial-tangential model (OpenCV's `calibrateCamera`).
_RADIAL_NAMES = (
    "radtan",
    "radial_tangential",
    "brown",
    "brown_conrady",
    "rational",
    "rational_polynomial_8",
    "opencv",
)

#: Other programs' names of the equidistant model (OpenCV's `fisheye`).
_FISHEYE_NAMES = (
    "equi",
    "equidist",
    "kannala_brandt",
    "kannala_brandt4",
    "kannala_brandt8",
    "kb4",
    "opencv_fisheye",
)

#: Names that say nothing of the distortion; the number of coefficients does, where it can.
_PINHOLE_NAMES = ("", "pinhole", "perspective")

#: Names that say that there is no distortion.
_NO_DISTORTION_NAMES = ("none", "no_distortion", "undistorted", "rectified")

#: Known models that are not implemented here; with zeros for coefficients they bend nothing.
_OTHER_POLYNOMIALS = ("inverse_brown_conrady", "modified_brown_conrady")


class CameraError(ValueError):
    """Intrinsics that no picture can have been taken with."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        matrix: K (3, 3), px.
        distortion: (N,) coefficients in OpenCV's order; empty for none.
        size: (width, height), px.
        model: the name of the distortion model as in sensor_msgs/CameraInfo; names that other
            programs give to the same models are replaced by it.
        full_size: (width, height) of the image that this one was cut out of, px; None when it is
            no cutout.

    Raises:
        CameraError: at construction, when a value is not finite, a focal length or a size is not
            positive, K is no camera matrix, or the distortion is of a model that is not known.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = "plumb_bob"
    full_size: tuple[int, int] | None = None

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
        if matrix[1, 0] or matrix[2].tolist() != [0, 0, 1]:
            why = "it looks transposed" if matrix[:2, 2].tolist() == [0, 0] else ""
            raise CameraError(
                f"K must be fx s cx, 0 fy cy, 0 0 1, by rows{'; ' if why else ''}{why}"
            )
        model, distortion = _known_lens(self.model, distortion)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float, pixel_aspect: float = 1.0) -> Camera:
        """An ideal camera of a horizontal field of view.

        Args:
            width, height: of the image, px.
            fov_deg: horizontal field of view, degrees.
            pixel_aspect: width of a pixel over its height; 1 for square pixels.

        Raises:
            CameraError: the field of view is outside 1..170 degrees.
        """
        if not 1.0 <= fov_deg <= 170.0:
            raise CameraError(f"a field of view of {fov_deg:g} degrees is outside 1..170")
        if not (math.isfinite(pixel_aspect) and pixel_aspect > 0):
            raise CameraError(f"a pixel aspect of {pixel_aspect:g} is not positive")
        return cls._ideal(width, height, width * pixel_aspect, fov_deg, pixel_aspect)

    @classmethod
    def guessed(cls, width: int, height: int, pixel_aspect: float = 1.0) -> Camera:
        """A guess for an unknown camera: `DEFAULT_FOV_DEG` across the longer side of the scene.

        A phone that is held upright has the same lens as one that lies on its side.

        Args:
            width, height: of the image, px.
            pixel_aspect: width of a pixel over its height; 1 for square pixels.
        """
        longer = max(width * pixel_aspect, height)
        return cls._ideal(width, height, longer, DEFAULT_FOV_DEG, pixel_aspect)

    @classmethod
    def _ideal(
        cls, width: int, height: int, side: float, fov_deg: float, pixel_aspect: float
    ) -> Camera:
        """With a field of view across `side`, which is in heights of a pixel."""
        fy = 0.5 * side / math.tan(math.radians(fov_deg) / 2)
        matrix = [
            [fy / pixel_aspect, 0, (width - 1) / 2],
            [0, fy, (height - 1) / 2],
            [0, 0, 1],
        ]
        return cls(np.array(matrix), (width, height))

    @classmethod
    def from_yaml(cls, path: str | Path, rectified: bool = False) -> Camera:
        """Read a calibration file of any format that `calibration.read_camera` knows.

        Args:
            path: of the file; FILE#NAME takes one camera of several.
            rectified: take the intrinsics of the rectified images.

        Raises:
            CameraError: the file cannot be read or lacks what it needs; the message names it.
        """
        from ..io.calibration.reader import read_camera

        return read_camera(path, rectified)

    def doubts(self) -> str:
        """What looks wrong with intrinsics that are possible all the same; empty: nothing."""
        fx, fy = self.matrix[0, 0], self.matrix[1, 1]
        found = []
        if max(fx, fy) / min(fx, fy) > MAX_LIKELY_FOCAL_RATIO * (1 + 1e-6):
            found.append(f"fx {fx:.4g} and fy {fy:.4g} are far from each other")
        # A cutout may lie beside the optical axis and be as small as it likes.
        if self.full_size is None:
            found += self._doubts_of_the_whole()
        if not found:
            return ""
        return (
            f"intrinsics of {self.size[0]}x{self.size[1]} look wrong: {'; '.join(found)}; "
            "check the calibration, all distances depend on it"
        )

    def _doubts_of_the_whole(self) -> list[str]:
        (width, height), found = self.size, []
        center = self.matrix[:2, 2]
        if not ((center > -0.5) & (center < (width - 0.5, height - 0.5))).all():
            found.append(
                f"the principal point {center[0]:.4g}, {center[1]:.4g} is outside the picture"
            )
        # The middle tenth of the picture turned on its side, and not of the picture.
        own, turned = (
            (np.abs(center / side - 0.5) < 0.05).all()
            for side in ((width, height), (height, width))
        )
        if turned and not own:
            found.append(
                f"the principal point {center[0]:.4g}, {center[1]:.4g} is that of "
                f"{height}x{width}: are width and height exchanged?"
            )
        across = max(width / self.matrix[0, 0], height / self.matrix[1, 1])
        fisheye = self.model in _FISHEYE_MODELS
        fov_deg = math.degrees(across if fisheye else 2 * math.atan(across / 2))
        most_deg = MAX_LIKELY_FISHEYE_FOV_DEG if fisheye else MAX_LIKELY_FOV_DEG
        if not MIN_LIKELY_FOV_DEG <= fov_deg <= most_deg:
            found.append(f"the field of view is {fov_deg:.3g} degrees")
        return found

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same camera delivering another resolution of the same picture.

        Raises:
            CameraError: the aspect ratio differs by more than 1 %: then the picture was cropped and
                these intrinsics do not hold. Or the intrinsics are of a cutout, and the picture has
                another size.
        """
        if (width, height) == self.size:
            return self
        own = f"{self.size[0]}x{self.size[1]}"
        if self.full_size is not None:
            raise CameraError(
                f"intrinsics are for {own} cut out of {self.full_size[0]}x{self.full_size[1]}, the "
                f"image is {width}x{height}: the roi of camera_info must be that of the images"
            )
        sx, sy = width / self.size[0], height / self.size[1]
        if abs(sx / sy - 1) > 0.01:
            raise CameraError(
                f"intrinsics are for {own}, the image is {width}x{height}, of another aspect ratio "
                "and so a cutout: calibrate at this size, or give the roi in camera_info"
            )
        return self._resampled(sx, sy, (width, height))

    def _resampled(self, sx: float, sy: float, size: tuple[int, int]) -> Camera:
        """With `sx` and `sy` pixels for each one, from the same corner."""
        # Pixel centres lie at whole numbers, so the grids are half a pixel off each other's scale.
        scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
        return Camera(scale @ self.matrix, size, self.distortion, self.model, self.full_size)

    def delivered(
        self, roi: tuple[int, int, int, int] = (0, 0, 0, 0), binning: tuple[int, int] = (0, 0)
    ) -> Camera:
        """The intrinsics of the images as a driver delivers them: cut out, then binned (REP 104).

        Args:
            roi: x, y, width, height of the cutout, px of the full image; all 0: the full image.
            binning: how many pixels of the sensor make one, horizontally and vertically; 0 is 1.

        Raises:
            CameraError: the cutout is not inside the image, or nothing is left of it.
        """
        x, y, width, height = roi
        camera = self
        if any(roi) and roi != (0, 0, *self.size):
            full_width, full_height = self.size
            if not (
                0 <= x and 0 < width <= full_width - x and 0 <= y and 0 < height <= full_height - y
            ):
                raise CameraError(
                    f"the roi {width}x{height} at {x}, {y} is not inside the image of "
                    f"{full_width}x{full_height}"
                )
            shift = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
            camera = Camera(
                shift @ self.matrix, (width, height), self.distortion, self.model, self.size
            )
        across, down = (max(1, n) for n in binning)
        if (across, down) == (1, 1):
            return camera
        # Pixels at the edge that fill no whole bin are left out.
        size = (camera.size[0] // across, camera.size[1] // down)
        return camera._resampled(1 / across, 1 / down, size)

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Pixels to rays, with the lens's distortion taken out.

        Args:
            points: (..., 2) px; the ray of NaN or infinity is NaN.

        Returns:
            (..., 2): x/z and y/z. NaN where the lens model has no ray that ends at the pixel.
        """
        points = np.asarray(points, dtype=np.float64)
        points = np.where(np.isfinite(points), points, np.nan)
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


def _known_lens(model: str, distortion: np.ndarray) -> tuple[str, np.ndarray]:
    """A distortion model by its name in ROS, and its coefficients; (N,) finite.

    Raises:
        CameraError: the model is not known, the number of coefficients is not the model's, or the
            name does not say which of two models four coefficients are of.
    """
    name = re.sub(r"[\s\-]+", "_", model.strip().lower())
    count, bends = distortion.size, bool(distortion.any())
    if name in _FISHEYE_MODELS + _FISHEYE_NAMES:
        if count not in (0, 4):
            if count < 4 or distortion[4:].any():
                raise CameraError(f"a fisheye has 4 coefficients, not {count}")
            # Written into an array of the other models' length, as for a T265.
            distortion = distortion[:4]
        return ("fisheye" if name == "fisheye" else "equidistant"), distortion
    if name in _NO_DISTORTION_NAMES + _OTHER_POLYNOMIALS:
        if not bends:
            return "plumb_bob", np.zeros(0)
        if name in _NO_DISTORTION_NAMES:
            raise CameraError(f"the distortion model is {model!r}, but D is not zero")
        raise CameraError(
            f"the distortion model {model!r} is not implemented; calibrate with plumb_bob, "
            "rational_polynomial or equidistant"
        )
    if name not in _RADIAL_MODELS + _RADIAL_NAMES + _PINHOLE_NAMES:
        raise CameraError(
            f"unknown distortion model {model!r}; known are plumb_bob (radtan), "
            "rational_polynomial, equidistant (fisheye) and none"
        )
    counts = (12, 14) if name == "thin_prism_fisheye" else (4, 5, 8, 12, 14)
    if count and count not in counts:
        known = f"{', '.join(map(str, counts[:-1]))} or {counts[-1]}"
        raise CameraError(
            f"D has {count} values, the distortion model {known} (k1, k2, p1, p2, k3, ...): write "
            "0 for those that are not used"
        )
    if name in _PINHOLE_NAMES and count == 4 and bends:
        raise CameraError(
            "D has 4 values and no distortion_model says whose: plumb_bob (k1, k2, p1, p2) or "
            "equidistant (k1, k2, k3, k4)"
        )
    if name in _RADIAL_MODELS:
        return name, distortion
    return ("plumb_bob" if count <= 5 else "rational_polynomial"), distortion


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
