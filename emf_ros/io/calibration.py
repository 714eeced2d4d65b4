"""Calibration files of several programs. docs/reference/calibration.md lists what is read.

Each format becomes a mapping of names to plain values, in which the intrinsics of a camera are
looked up by the names that programs give them. Values stay text until they are needed: the types
that YAML guesses (octal numbers, dates) are no use here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from ..geometry.camera import DEFAULT_FOV_DEG, Camera, CameraError

#: Size above which a file is no calibration file, bytes.
MAX_FILE_BYTES = 2_000_000

#: Maximum depth at which a camera is looked for in nested mappings.
MAX_DEPTH = 4

#: Maximum number of numbers in one list; no list of intrinsics is longer.
MAX_NUMBERS = 64

_READ = (
    "camera_calibration's YAML, OpenCV's FileStorage, the output of 'ros2 topic echo' of a "
    "camera_info, and Kalibr's camchain are read"
)

#: First bytes of files that are given by mistake, and what to give instead.
_OTHER_FILES = (
    (b"\x1f\x8b", "a gzip archive: unpack it and give the ost.yaml in it"),
    (
        b"PK\x03\x04",
        "a zip or npz archive: write its values as YAML, see docs/reference/calibration.md",
    ),
    (b"\x93NUMPY", "a numpy array: write its values as YAML, see docs/reference/calibration.md"),
    (b"# oST", "the INI file of camera_calibration: give the ost.yaml beside it"),
    (b"[image]", "the INI file of camera_calibration: give the ost.yaml beside it"),
    (
        b"# Camera list with one line of data per camera",
        "COLMAP's cameras.txt, which is not read: write its values as YAML, see "
        "docs/reference/calibration.md",
    ),
)

#: Our name of a value, by what programs call it; in lower case, without what is no letter or digit.
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

#: Endings of names in a file of a stereo pair.
_STEREO = ("1", "2", "left", "right")

#: What makes a mapping that of a camera.
_INTRINSICS = ("matrix", "fx", "projected")

#: Order of the coefficients where each has a name, of a fisheye and of all others.
_FISHEYE_ORDER = ("k1", "k2", "k3", "k4")
_RADIAL_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")

#: Camera models that bend rays in ways that are not implemented.
_OTHER_CAMERA_MODELS = (
    "omni",
    "omnidirectional",
    "mei",
    "eucm",
    "ds",
    "doublesphere",
    "fov",
    "atan",
    "ocam",
    "scaramuzza",
    "cata",
    "equirectangular",
)

#: Camera models whose distortion is that of a fisheye, where nothing else is said.
_FISHEYE_CAMERA_MODELS = ("fisheye", "equidistant", "kannalabrandt", "kannalabrandt8")


def choose_camera(
    size: tuple[int, int],
    file: str | Path | None = None,
    fov_deg: float | None = None,
    pixel_aspect: float = 1.0,
    rectified: bool = False,
) -> tuple[Camera, list[str]]:
    """The camera of a video: of a calibration file, of a field of view, or a guess.

    Args:
        size: (width, height) of the images, px.
        file: a calibration file; it is scaled to `size`.
        fov_deg: horizontal field of view, degrees, where there is no file.
        pixel_aspect: width of a pixel over its height, where there is no file.
        rectified: the images are rectified, and the intrinsics of the file are taken for it.

    Returns:
        the camera, and what the user must be told of it, in one line each.

    Raises:
        CameraError: the file is of no use, or the field of view is none.
    """
    if file:
        camera = read_camera(file, rectified).scaled_to(*size)
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
        path: of the file, or its file:// URL; FILE#NAME takes one camera of several.
        rectified: take the intrinsics of the rectified images (the left 3x3 of P), which have no
            distortion.

    Raises:
        CameraError: says in one line which file, of which format, and what to do.
    """
    file, wanted = _file_and_name(path)
    label = "no calibration file"
    try:
        text = _text(file)
        documents = _documents(text)
        label = _format(text, documents)
        return _one_camera(documents, wanted, path, rectified)
    except CameraError as error:
        raise CameraError(f"{path} ({label}): {error}") from None
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        # YAML's messages have several lines.
        text = getattr(error, "strerror", None) or str(error)
        why = " ".join(text.split())[:200] or type(error).__name__
        raise CameraError(f"cannot read the camera file {path}: {why}") from None


def _file_and_name(path: str | Path) -> tuple[Path, str]:
    """The file, and which of its cameras; a '#' may be in the file's own name."""
    text = str(path)
    if text.startswith("file://"):
        text = text[len("file://") :]
    file = Path(text).expanduser()
    head, mark, name = text.rpartition("#")
    if mark and not file.exists() and (shorter := Path(head).expanduser()).exists():
        return shorter, name
    return file, ""


def _text(file: Path) -> str:
    with open(file, "rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    for begin, what in _OTHER_FILES:
        if data.startswith(begin):
            raise CameraError(f"this is {what}")
    if len(data) > MAX_FILE_BYTES:
        raise CameraError(f"larger than {MAX_FILE_BYTES / 1e6:g} MB; {_READ}")
    if not data.strip():
        raise CameraError(f"the file is empty; {_READ}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    # UTF-16 without a mark: every second byte of ASCII is zero.
    for zeros, encoding in ((data[1:200:2], "utf-16-le"), (data[0:200:2], "utf-16-be")):
        if zeros and not any(zeros):
            return data.decode(encoding)
    if b"\0" in data:
        raise CameraError(f"this is no text; {_READ}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # An old code page; what is not ASCII stands in comments and names.
        return data.decode("latin-1")


def _documents(text: str) -> list[dict]:
    """The mappings of a file, most often one."""
    begin = text.lstrip()[:1]
    if begin == "<":
        found: list[Any] = [_of_xml(text)]
    elif begin == "{":
        try:
            found = [json.loads(text, parse_int=str, parse_float=str, parse_constant=str)]
        except json.JSONDecodeError:
            found = _of_yaml(text)
    else:
        found = _of_yaml(text)
    mappings = [document for document in found if isinstance(document, dict)]
    if not mappings:
        raise CameraError(f"there are no named values in it; {_READ}")
    return mappings


def _of_yaml(text: str) -> list[Any]:
    # OpenCV writes '%YAML:1.0', which is no YAML. The base loader takes tags, such as
    # '!!opencv-matrix', for what they stand before, and makes no objects.
    text = re.sub(r"\A\s*%YAML.*", "", text)
    return list(yaml.load_all(text, yaml.BaseLoader))


def _of_xml(text: str) -> Any:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise CameraError("XML with a document type is not read; give OpenCV's FileStorage")
    try:
        # Declared as UTF-16 or not, it is text by now.
        root = ElementTree.fromstring(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise CameraError(f"broken XML: {error}") from None

    def value(element: ElementTree.Element) -> Any:
        if len(element):
            return {child.tag: value(child) for child in element}
        return (element.text or "").strip()

    return value(root)


def _format(text: str, documents: list[dict]) -> str:
    """The name of a file's format, for messages."""
    keys = {key for document in documents for key in document}
    if "!!python/object" in text:
        return "Python objects as YAML; write plain lists, as of array.tolist()"
    if "opencv-matrix" in text or "opencv_storage" in text or text.startswith("%YAML:"):
        return "OpenCV FileStorage"
    if "cameraData" in keys:
        return "DepthAI calibration"
    if any(re.fullmatch(r"cam\d+", str(key)) for key in keys):
        return "Kalibr camchain"
    if {"k", "K"} & keys and {"distortion_model", "d", "D", "binning_x"} & keys:
        return "camera_info message"
    if {"camera_matrix", "image_width"} <= keys or {"camera_matrix", "image_height"} <= keys:
        return "camera_calibration file"
    return "calibration file"


def _one_camera(documents: list[dict], wanted: str, path: str | Path, rectified: bool) -> Camera:
    """The one camera of a file, or the one that is wanted."""
    found = [cameras for document in documents if (cameras := dict(_cameras(document)))]
    if not found:
        if any("cameraData" in document for document in documents):
            raise CameraError(
                "not read: write intrinsicMatrix, distortionCoeff, width and height of the socket "
                "as YAML with distortion_model rational_polynomial, see "
                "docs/reference/calibration.md"
            )
        raise CameraError(f"no intrinsics are in it; {_READ}")
    names = list(found[0])
    if wanted and wanted not in names:
        raise CameraError(f"no camera is called {wanted}; there are: {', '.join(names)}")
    if not wanted and len(names) > 1:
        raise CameraError(
            f"{len(names)} cameras are in it: {', '.join(names)}; choose one: {path}#{names[0]}"
        )
    name = wanted or names[0]
    # A topic that was listened to for a while: the same camera in each message.
    made = [_camera(cameras[name], rectified) for cameras in found if name in cameras]
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


def _cameras(data: Any, name: str = "", depth: int = 0, outer: dict | None = None) -> Iterator:
    """Names and values of the cameras in nested mappings.

    Args:
        data: a mapping; anything else holds no camera.
        name: of the mapping around it.
        depth: of the mapping.
        outer: sizes that were given further out.
    """
    if not isinstance(data, dict) or depth > MAX_DEPTH:
        return
    values = (outer or {}) | _values(data)
    if any(key in values for key in _INTRINSICS):
        yield name, values
        return
    for ending in _STEREO:
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
        yield from _cameras(value, f"{name}.{key}" if name else str(key), depth + 1, sizes)


def _values(data: dict) -> dict[str, Any]:
    """What a mapping says of a camera, by our names; what is null is left out."""
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in data.items():
        plain = re.sub(r"[^a-z0-9]", "", str(key).lower())
        is_part = isinstance(value, dict) and "data" not in value
        if is_part and plain in _PARTS:
            found |= _values(value)
            continue
        name = _NAMES.get(plain)
        if name is None or _is_null(value) or is_part != (name == "roi"):
            continue
        if name in found and found[name] != value:
            raise CameraError(f"it has both {spelled.get(name, name)} and {key}: leave one out")
        found[name], spelled[name] = value, str(key)
        if plain in ("intrinsics", "intrinsic") and isinstance(value, list) and len(value) == 4:
            # Kalibr's and EuRoC's: focal lengths, then the principal point.
            del found[name]
            found |= dict(zip(("fx", "fy", "cx", "cy"), value, strict=True))
    return found


def _camera(values: dict[str, Any], rectified: bool) -> Camera:
    kind = re.sub(r"[^a-z0-9]", "", str(values.get("camera_model", "")).lower())
    if kind in _OTHER_CAMERA_MODELS or "xi" in values:
        raise CameraError(
            f"the camera model {values.get('camera_model', 'omnidirectional')} is not implemented: "
            "calibrate as pinhole-radtan or pinhole-equi (equidistant)"
        )
    size = _size(values)
    if rectified:
        if "projected" not in values:
            raise CameraError(
                "no projection_matrix (P) is in it, which has the intrinsics of rectified images"
            )
        projected = _matrix(values["projected"], "projection_matrix", 4)
        if not projected.any():
            raise CameraError("the projection_matrix is zero: no rectified images are known")
        camera = Camera(projected[:, :3], size)
    else:
        model, distortion = _lens(values, kind)
        camera = Camera(_intrinsics(values), size, distortion, model)
    roi = values.get("roi", {})
    x, y, width, height = (
        _whole(roi.get(key, "0"), f"roi.{key}")
        for key in ("x_offset", "y_offset", "width", "height")
    )
    across, down = (_whole(values.get(key, "0"), key) for key in ("binning_x", "binning_y"))
    return camera.delivered((x, y, width, height), (across, down))


def _size(values: dict[str, Any]) -> tuple[int, int]:
    """(width, height), px."""
    if "width" in values and "height" in values:
        return _whole(values["width"], "width"), _whole(values["height"], "height")
    if "size" in values:
        size = _numbers(values["size"], "image size")
        if len(size) == 2:
            return _whole(size[0], "width"), _whole(size[1], "height")
    missing = [name for name in ("width", "height") if name not in values]
    raise CameraError(
        f"there is no image {' and no image '.join(missing)}: add image_width and image_height, "
        "px, of the images that were calibrated with"
    )


def _intrinsics(values: dict[str, Any]) -> np.ndarray:
    """(3, 3) K, px."""
    if "matrix" in values:
        matrix = _matrix(values["matrix"], "camera matrix", 3)
    elif missing := [name for name in ("fx", "fy", "cx", "cy") if name not in values]:
        raise CameraError(f"the camera matrix is missing: there is no {', '.join(missing)}")
    else:
        fx, fy, cx, cy = (_number(values[name], name) for name in ("fx", "fy", "cx", "cy"))
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if not matrix.any():
        raise CameraError(
            "the camera matrix is zero: the camera was not calibrated; calibrate it, or give a "
            "field of view in place of the file"
        )
    return matrix


def _lens(values: dict[str, Any], kind: str) -> tuple[str, np.ndarray]:
    """The name of the distortion model, as it stands there, and the coefficients (N,)."""
    model = str(values.get("model", ""))
    if not model and kind:
        # Old files of camera_calibration have the distortion model under this name.
        model = "equidistant" if kind in _FISHEYE_CAMERA_MODELS else str(values["camera_model"])
    if _is_true(values.get("fisheye", "0")):
        model = model or "equidistant"
    if "distortion" in values:
        return model, _numbers(values["distortion"], "distortion coefficients")
    named = [name for name in (*_RADIAL_ORDER, "p3") if name in values]
    if not named:
        return model, np.zeros(0)
    fisheye = model.lower().replace("-", "_") in ("equidistant", "fisheye", "kannala_brandt")
    order = _FISHEYE_ORDER if fisheye else _RADIAL_ORDER
    if not set(named) <= set(order):
        raise CameraError(f"{', '.join(set(named) - set(order))} is no coefficient of {model}")
    coefficients = [_number(values.get(name, "0"), name) for name in order]
    if fisheye or any(coefficients[5:]):
        return model, np.array(coefficients)
    # By name it is clear that they are no fisheye's.
    return model or "plumb_bob", np.array(coefficients[:5])


def _matrix(value: Any, what: str, columns: int) -> np.ndarray:
    """(3, columns) of a list, of a list of lists, or of a mapping with rows, cols and data."""
    if isinstance(value, dict) and {"rows", "cols"} <= set(value):
        shape = _whole(value["rows"], "rows"), _whole(value["cols"], "cols")
        if shape != (3, columns):
            raise CameraError(f"the {what} is {shape[0]}x{shape[1]}, not 3x{columns}")
    numbers = _numbers(value, what)
    if len(numbers) == 6 * columns:
        raise CameraError(
            f"the {what} has {len(numbers)} values in place of {3 * columns}: are there decimal "
            "commas? Write 914.5, not 914,5"
        )
    if len(numbers) != 3 * columns:
        raise CameraError(f"the {what} has {len(numbers)} values in place of {3 * columns}")
    return numbers.reshape(3, columns)


def _numbers(value: Any, what: str) -> np.ndarray:
    """(N,) of a list, of lists in a list, of text with blanks, or of a mapping with data."""
    if isinstance(value, dict):
        if "data" not in value:
            raise CameraError(f"the {what} has no data")
        value = value["data"]
    if _is_null(value):
        return np.zeros(0)
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        raise CameraError(f"the {what} is no list of numbers")
    flat: list[Any] = []
    for item in value:
        flat += item if isinstance(item, list) else [item]
        if len(flat) > MAX_NUMBERS:
            raise CameraError(f"the {what} has more than {MAX_NUMBERS} values")
    return np.array([_number(item, what) for item in flat])


def _number(value: Any, what: str) -> float:
    text = str(value)[:40] if isinstance(value, (str, float, int)) else type(value).__name__
    try:
        # YAML writes .nan and .inf.
        return float(re.sub(r"\A([+-]?)\.(?=[ni])", r"\1", text.strip().lower()))
    except ValueError:
        pass
    if re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text):
        raise CameraError(
            f"the {what} has a decimal comma: write {text.replace(',', '.')}, not {text}"
        )
    raise CameraError(f"the {what} has {text!r}, which is no number")


def _whole(value: Any, what: str) -> int:
    number = _number(value, what)
    if not np.isfinite(number) or number != round(number):
        raise CameraError(f"the {what} is {number:g}, which is no whole number")
    return int(number)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.lower() in ("", "~", "null"))


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("1", "true", "yes")
