"""The pinhole camera with distortion: intrinsics, rays, projection.

Frames: the camera's optical frame, x right, y down, z forward (REP-103). A ray is written as its
point on the plane z = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .lens import FISHEYE_MODELS, CameraError, read_distortion_model

#: Guessed field of view of an unknown camera across the longer side, degrees.
DEFAULT_FOV_DEG = 60.0

#: Minimum field of view of plausible intrinsics, degrees.
MIN_LIKELY_FOV_DEG = 5.0

#: Maximum field of view of plausible intrinsics without a fisheye model, degrees.
MAX_LIKELY_FOV_DEG = 170.0

#: Maximum field of view of plausible intrinsics of a fisheye, degrees.
MAX_LIKELY_FISHEYE_FOV_DEG = 250.0

#: Maximum ratio of the two focal lengths, in pixels, of plausible intrinsics.
MAX_LIKELY_FOCAL_RATIO = 2.0


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        matrix: K (3, 3), px.
        distortion: (N,) coefficients in OpenCV's order; empty for none.
        size: (width, height), px.
        model: name of the distortion model as in sensor_msgs/CameraInfo; names of other programs
            are replaced by it.
        full_size: (width, height) of the image from which this one was cropped, px; None for an
            image that is not cropped.

    Raises:
        CameraError: at construction, when a value is not finite, a focal length or a size is not
            positive, K is no camera matrix, or the distortion model is unknown.
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
        model, distortion = read_distortion_model(self.model, distortion)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float, pixel_aspect: float = 1.0) -> Camera:
        """An ideal camera with a horizontal field of view.

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
        """A guess for an unknown camera: `DEFAULT_FOV_DEG` across the longer side of the image.

        The longer side, since a phone has the same lens upright and on its side.

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
        """A camera with a field of view across `side`, given in pixel heights."""
        fy = 0.5 * side / math.tan(math.radians(fov_deg) / 2)
        matrix = [
            [fy / pixel_aspect, 0, (width - 1) / 2],
            [0, fy, (height - 1) / 2],
            [0, 0, 1],
        ]
        return cls(np.array(matrix), (width, height))

    @classmethod
    def from_yaml(cls, path: str | Path, rectified: bool = False) -> Camera:
        """Read a calibration file of any format in docs/reference/calibration.md.

        Args:
            path: of the file; FILE#NAME selects one of its cameras.
            rectified: take the intrinsics of the rectified images.

        Raises:
            CameraError: the file cannot be read or a value is missing; the message names it.
        """
        from ..io.calibration.reader import read_camera

        return read_camera(path, rectified)

    def doubts(self) -> str:
        """One sentence on implausible values of possible intrinsics; empty where there are none."""
        fx, fy = self.matrix[0, 0], self.matrix[1, 1]
        found = []
        if max(fx, fy) / min(fx, fy) > MAX_LIKELY_FOCAL_RATIO * (1 + 1e-6):
            found.append(f"fx {fx:.4g} and fy {fy:.4g} are far from each other")
        # A crop may be beside the optical axis and of any size.
        if self.full_size is None:
            found += self._doubts_of_full_image()
        if not found:
            return ""
        return (
            f"intrinsics of {self.size[0]}x{self.size[1]} look wrong: {'; '.join(found)}; "
            "check the calibration, all distances depend on it"
        )

    def _doubts_of_full_image(self) -> list[str]:
        (width, height), found = self.size, []
        center = self.matrix[:2, 2]
        if not ((center > -0.5) & (center < (width - 0.5, height - 0.5))).all():
            found.append(
                f"the principal point {center[0]:.4g}, {center[1]:.4g} is outside the image"
            )
        # In the middle tenth of the image with width and height exchanged, but not of the image.
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
        fisheye = self.model in FISHEYE_MODELS
        fov_deg = math.degrees(across if fisheye else 2 * math.atan(across / 2))
        most_deg = MAX_LIKELY_FISHEYE_FOV_DEG if fisheye else MAX_LIKELY_FOV_DEG
        if not MIN_LIKELY_FOV_DEG <= fov_deg <= most_deg:
            found.append(f"the field of view is {fov_deg:.3g} degrees")
        return found

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same camera at another resolution of the same view.

        Raises:
            CameraError: the aspect ratio differs by more than 1 %: the image was cropped, and these
                intrinsics are wrong for it. Or the intrinsics are of a crop of another size.
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
                "and so cropped: calibrate at this size, or give the roi in camera_info"
            )
        return self._resampled(sx, sy, (width, height))

    def _resampled(self, sx: float, sy: float, size: tuple[int, int]) -> Camera:
        """The same view with `sx` times as many columns and `sy` times as many rows."""
        # Pixel centres are at whole numbers: between two scales the grids differ by half a pixel.
        scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
        return Camera(scale @ self.matrix, size, self.distortion, self.model, self.full_size)

    def delivered(
        self, roi: tuple[int, int, int, int] = (0, 0, 0, 0), binning: tuple[int, int] = (0, 0)
    ) -> Camera:
        """The intrinsics of the images as a driver publishes them: cropped, then binned (REP 104).

        Args:
            roi: x, y, width, height of the crop, px of the full image; all 0: the full image.
            binning: sensor pixels per image pixel, horizontally and vertically; 0 means 1.

        Raises:
            CameraError: the crop is not inside the image, or nothing is left of it.
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
        # Incomplete bins at the edge are left out.
        size = (camera.size[0] // across, camera.size[1] // down)
        return camera._resampled(1 / across, 1 / down, size)

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Pixels to rays, without the distortion of the lens.

        Args:
            points: (..., 2) px; the ray of NaN or infinity is NaN.

        Returns:
            (..., 2): x/z and y/z. NaN where the distortion model has no ray for the pixel.
        """
        points = np.asarray(points, dtype=np.float64)
        points = np.where(np.isfinite(points), points, np.nan)
        flat = points.reshape(-1, 2) - self._skew(points.reshape(-1, 2))
        if not self.distortion.any() and self.model not in FISHEYE_MODELS:
            focal = self.matrix[[0, 1], [0, 1]]
            return ((flat - self.matrix[:2, 2]) / focal).reshape(points.shape)
        rays = np.full_like(flat, np.nan)
        # Far outside the image the polynomial folds back on itself: every answer would be wrong.
        margin = max(self.size)
        usable = np.isfinite(flat).all(axis=-1) & (np.abs(flat) < 3 * margin).all(axis=-1)
        if usable.any():
            source = flat[usable][:, None]
            if self.model in FISHEYE_MODELS:
                coefficients = self.distortion if self.distortion.size else np.zeros(4)
                found = cv2.fisheye.undistortPoints(source, self.matrix, coefficients)
            else:
                criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-8)
                found = cv2.undistortPointsIter(
                    source, self.matrix, self.distortion, np.eye(3), np.eye(3), criteria
                )
            found = found[:, 0]
            # A solution that did not converge is projected to another pixel.
            again = self._distort(found)
            error = np.linalg.norm(again - flat[usable], axis=-1)
            found[~(error < 1.0)] = np.nan
            rays[usable] = found
        return rays.reshape(points.shape)

    def _skew(self, points: np.ndarray) -> np.ndarray:
        """Displacement of pixels (N, 2) by the skew of K, px; OpenCV ignores the skew."""
        along = self.matrix[0, 1] * (points[:, 1] - self.matrix[1, 2]) / self.matrix[1, 1]
        return np.stack([along, np.zeros_like(along)], axis=-1)

    def _distort(self, rays: np.ndarray) -> np.ndarray:
        """Rays (N, 2) to pixels (N, 2) of the camera without skew."""
        points = np.concatenate([rays, np.ones((len(rays), 1))], axis=-1)[:, None]
        zero = np.zeros(3)
        if self.model in FISHEYE_MODELS:
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
