"""The cameras of a calibration file: the values that belong to each, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...geometry.camera import CameraError
from .values import is_null

#: Maximum depth at which a camera is looked for in nested mappings.
MAX_DEPTH = 4

#: Our name of a value, by the names that programs give it: in lower case, letters and digits only.
_NAMES = {
    spelling: name
    for name, spellings in {
        "matrix": "cameramatrix cammatrix cammtx mtx k intrinsicmatrix intrinsicsmatrix intrinsics "
        "intrinsic cameraintrinsics cameraintrinsicmatrix",
        "distortion": "distortioncoefficients distortioncoeffs distortioncoeff distcoefficients "
        "distcoeffs distcoeff distcoefs distcoef distortion dist d coeffs",
        "model": "distortionmodel distortiontype lensmodel model",
        "camera_model": "cameramodel cameratype modeltype projectionmodel projection",
        "fisheye": "fisheyemodel fisheye isfisheye",
        "size": "imagesize imgsize resolution imageresolution framesize",
        "width": "imagewidth width camerawidth imgwidth w",
        "height": "imageheight height cameraheight imgheight h",
        "projected": "projectionmatrix p",
        "roi": "roi",
        "binning_x": "binningx",
        "binning_y": "binningy",
        "fx": "fx camerafx",
        "fy": "fy camerafy",
        "cx": "cx cameracx ppx",
        "cy": "cy cameracy ppy",
        "xi": "xi",
        **{f"{letter}{n}": f"{letter}{n} camera{letter}{n}" for letter in "kp" for n in "123456"},
    }.items()
    for spelling in spellings.split()
}

#: Mappings whose values belong to the mapping around them.
_PARTS = ("projectionparameters", "distortionparameters", "intrinsicparameters", "intrinsics")

#: Our names of the values in VINS' projection_parameters where the camera is no pinhole: of a
#: Kannala-Brandt fisheye, and of MEI, which `make_camera` refuses by name.
_VINS_NAMES = {
    "mu": {"mu": "fx", "mv": "fy", "u0": "cx", "v0": "cy"}
    | {f"k{n + 1}": f"k{n}" for n in range(1, 5)},
    "gamma1": {"gamma1": "fx", "gamma2": "fy", "u0": "cx", "v0": "cy"},
}

#: A value of one of ORB-SLAM3's cameras, such as Camera1.fx.
_NUMBERED = re.compile(r"(camera[12])\.(\w+)", re.IGNORECASE)

#: Endings of names in a file of a stereo pair.
_STEREO_ENDINGS = ("1", "2", "left", "right")

#: Values that make a mapping a camera; one of them is enough.
_INTRINSICS = ("matrix", "fx", "projected")


def find_cameras(
    data: Any, name: str = "", depth: int = 0, outer: dict | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and values of the cameras in nested mappings.

    Args:
        data: a mapping; anything else holds no camera.
        name: of the mapping around it.
        depth: of the mapping.
        outer: sizes that were given further out.

    Raises:
        CameraError: a value is given twice, under two names.
    """
    if not isinstance(data, dict) or depth > MAX_DEPTH:
        return
    values = (outer or {}) | _values(data)
    if any(key in values for key in _INTRINSICS):
        yield name, values
        return
    numbered: dict[str, dict[str, Any]] = {}
    for key, value in data.items():
        if match := _NUMBERED.fullmatch(str(key)):
            numbered.setdefault(match[1], {})[match[2]] = value
    for camera, own in numbered.items():
        if "fx" in (of_one := _values(own)):
            yield camera, {**values, **of_one}
    for ending in _STEREO_ENDINGS:
        own = {
            key[: -len(ending)].rstrip("_ "): value
            for key, value in data.items()
            if key.lower().endswith(ending) and isinstance(value, (dict, list))
        }
        # OpenCV's stereo samples call K M.
        own = {{"M": "K"}.get(key, key): value for key, value in own.items()}
        if "matrix" in (of_one := _values(own)):
            yield ending, {**values, **of_one}
    sizes = {key: values[key] for key in ("size", "width", "height") if key in values}
    for key, value in data.items():
        yield from find_cameras(value, f"{name}.{key}" if name else str(key), depth + 1, sizes)


def _values(data: dict) -> dict[str, Any]:
    """The values of a mapping by our names; null is left out."""
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in data.items():
        plain = re.sub(r"[^a-z0-9]", "", str(key).lower())
        is_part = isinstance(value, dict) and "data" not in value
        if is_part and plain in _PARTS:
            renamed = next((new for mark, new in _VINS_NAMES.items() if mark in value), {})
            found |= _values({renamed.get(key, key): each for key, each in value.items()})
            continue
        name = _NAMES.get(plain)
        if name is None or is_null(value) or is_part != (name == "roi"):
            continue
        if name in found and found[name] != value:
            raise CameraError(f"it has both {spelled.get(name, name)} and {key}: leave one out")
        found[name], spelled[name] = value, str(key)
        if plain in ("intrinsics", "intrinsic") and isinstance(value, list) and len(value) == 4:
            # Kalibr and EuRoC: focal lengths, then the principal point.
            del found[name]
            found |= dict(zip(("fx", "fy", "cx", "cy"), value, strict=True))
    return found
