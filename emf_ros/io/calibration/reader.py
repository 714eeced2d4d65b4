"""Read the camera of a calibration file, or choose one without a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from ...geometry.camera import DEFAULT_FOV_DEG, Camera, CameraError
from ..paths import from_home
from .cameras import find_cameras
from .intrinsics import make_camera
from .text import FORMATS_READ, format_name, read_documents, read_text


def choose_camera(
    size: tuple[int, int],
    file: str | Path | None = None,
    fov_deg: float | None = None,
    pixel_aspect: float = 1.0,
    rectified: bool = False,
    brought: Camera | CameraError | None = None,
) -> tuple[Camera, list[str]]:
    """The camera of a video: of a calibration file, a field of view, the source, or a guess.

    Args:
        size: (width, height) of the images, px.
        file: a calibration file; it is scaled to `size`.
        fov_deg: horizontal field of view, degrees, where there is no file.
        pixel_aspect: width of a pixel over its height, where there is no file.
        rectified: the images are rectified: take the file's intrinsics of rectified images.
        brought: by the source, such as a bag, where there is neither file nor field of view; see
            `FrameSource.camera`.

    Returns:
        the camera, and warnings for the user, in one line each.

    Raises:
        CameraError: the file cannot be used, or the field of view is out of range; or those of the
            source are needed and cannot be used.
    """
    if file:
        camera = read_camera(file, rectified).scaled_to(*size)
    elif brought is not None and fov_deg is None:
        if isinstance(brought, CameraError):
            raise CameraError(
                f"{brought}; or give others: --camera-info, --fov (camera_info_file, fov_deg)"
            )
        camera = brought
    elif rectified:
        raise CameraError(
            "rectified images need a calibration file (--camera-info, camera_info_file); with a "
            "field of view there is no distortion to take out"
        )
    elif fov_deg is not None:
        camera = Camera.from_fov(*size, fov_deg, pixel_aspect)
    else:
        guess = (
            f"neither intrinsics nor a field of view are given: {DEFAULT_FOV_DEG:g} degrees across "
            "the longer side are a guess, on which all distances depend"
        )
        return Camera.guessed(*size, pixel_aspect), [guess]
    doubts = camera.doubts()
    return camera, [doubts] if doubts else []


def read_camera(path: str | Path, rectified: bool = False) -> Camera:
    """The camera of a calibration file.

    Args:
        path: of the file, or its file:// URL; FILE#NAME selects one of its cameras.
        rectified: take the intrinsics of the rectified images (the left 3x3 of P), which have no
            distortion.

    Raises:
        CameraError: in one line the file, its format, and the remedy.
    """
    file, wanted = file_and_name(path)
    label = "no calibration file"
    try:
        text = read_text(file)
        documents = read_documents(text)
        label = format_name(text, documents)
        return _one_camera(documents, wanted, path, rectified)
    except CameraError as error:
        raise CameraError(f"{path} ({label}): {error}") from None
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        # YAML's messages have several lines.
        text = getattr(error, "strerror", None) or str(error)
        reason = " ".join(text.split())[:200] or type(error).__name__
        raise CameraError(f"cannot read the camera file {path}: {reason}") from None


def file_and_name(path: str | Path) -> tuple[Path, str]:
    """The file of a `read_camera` path, and the name of the camera after '#'.

    A '#' may also be in the file's own name. Without a name it is empty.
    """
    text = str(path)
    if text.startswith("file://"):
        text = text[len("file://") :]
    file = from_home(text)
    head, separator, name = text.rpartition("#")
    if separator and not file.exists() and (shorter := from_home(head)).exists():
        return shorter, name
    return file, ""


def _one_camera(documents: list[dict], wanted: str, path: str | Path, rectified: bool) -> Camera:
    """The camera with the wanted name, or the only camera of a file."""
    found = [cameras for document in documents if (cameras := dict(find_cameras(document)))]
    if not found:
        if any("cameraData" in document for document in documents):
            raise CameraError(
                "not read: write intrinsicMatrix, distortionCoeff, width and height of the socket "
                "as YAML with distortion_model rational_polynomial, see "
                "docs/reference/calibration.md"
            )
        raise CameraError(f"no intrinsics are in it; {FORMATS_READ}")
    names = list(found[0])
    if wanted and wanted not in names:
        raise CameraError(f"no camera is called {wanted}; there are: {', '.join(names)}")
    if not wanted and len(names) > 1:
        raise CameraError(
            f"{len(names)} cameras are in it: {', '.join(names)}; choose one: {path}#{names[0]}"
        )
    name = wanted or names[0]
    # The recorded messages of a topic are several documents, each with the same camera.
    made = [make_camera(cameras[name], rectified) for cameras in found if name in cameras]
    first = made[0]
    for other in made[1:]:
        if (first.size, first.model) != (other.size, other.model) or not (
            np.array_equal(first.matrix, other.matrix)
            and np.array_equal(first.distortion, other.distortion)
        ):
            raise CameraError(
                f"{len(made)} messages with different intrinsics are in it: keep one of them"
            )
    return first
