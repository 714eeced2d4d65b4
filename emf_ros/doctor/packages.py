"""Checks of Python and of the packages that emf_ros imports."""

from __future__ import annotations

import importlib
import re
import site
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from .result import Level, Result, error, ok, warning

#: Oldest Python that works.
MIN_PYTHON = (3, 10)

#: Packages on PyPI that emf_ros needs, with their module and the oldest version that works. They
#: are those of setup.py.
REQUIRED = {
    "numpy": ("numpy", "1.21"),
    "onnxruntime": ("onnxruntime", "1.14"),
    "opencv-python-headless": ("cv2", "4.5"),
    "PyYAML": ("yaml", "5.4"),
    "tqdm": ("tqdm", "4.57"),
}

#: Packages on PyPI that install the same module: the one that pip installed last overwrites files
#: of the others.
SAME_MODULE = (
    (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    ("onnxruntime-gpu", "onnxruntime"),
)

#: Modules that cannot be imported without numpy.
_ON_NUMPY = ("onnxruntime", "cv2")

#: Texts of the errors of a module that was built for another numpy.
_OTHER_NUMPY = ("numpy.core.multiarray", "numpy._core", "_ARRAY_API", "compiled using NumPy")


def python(
    version: Sequence[int] = tuple(sys.version_info[:3]), folders: Sequence[str] = tuple(sys.path)
) -> list[Result]:
    """The interpreter, and folders of another Python on its path.

    Args:
        version: of the interpreter.
        folders: on the path of modules.
    """
    name = ".".join(str(part) for part in version[:2])
    if tuple(version[:2]) < MIN_PYTHON:
        oldest = ".".join(map(str, MIN_PYTHON))
        return [error("Python", f"Python {name} is too old", f"use Python {oldest} or later")]
    others = {
        found[1]
        for folder in folders
        if (found := re.search(r"python(3\.\d+)/(?:site|dist)-packages", folder))
        and found[1] != name
    }
    if others:
        other = ", ".join(sorted(others))
        return [
            error(
                "Python",
                f"Python {name} runs, but PYTHONPATH has packages of Python {other}",
                f"run emf-ros with Python {other}, or source the ROS 2 of Python {name}",
            )
        ]
    return [ok("Python", f"Python {name}, {sys.executable}")]


def packages(required: Mapping[str, tuple[str, str]] = REQUIRED) -> list[Result]:
    """Each package can be imported, and is new enough.

    Args:
        required: module and oldest version, by the package's name on PyPI.
    """
    results: list[Result] = []
    broken = False
    for name, (module, least) in required.items():
        # Without numpy these fail as well, and say so in pages.
        if not (broken and module in _ON_NUMPY):
            results.append(_package(name, module, least))
            broken |= module == "numpy" and results[-1].level is Level.ERROR
    return results


def _package(name: str, module: str, least: str) -> Result:
    install = f"{sys.executable} -m pip install '{name}>={least}'"
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as failure:
        return error(module, f"cannot be imported: {failure}", install)
    except Exception as failure:  # a library that does not load raises anything
        text = " ".join(str(failure).split())
        if module in _ON_NUMPY and any(sign in text for sign in _OTHER_NUMPY):
            return error(
                module,
                f"was built for another numpy than {_version_of('numpy')}: {text[:200]}",
                f"install a newer {name}, or an older numpy: {sys.executable} -m pip install "
                f"--upgrade {name}, or 'numpy<2'",
            )
        shown = f"cannot be imported: {type(failure).__name__}: {text[:200]}"
        if "libGL" in text:
            return error(
                module, shown, "pip uninstall opencv-python; pip install opencv-python-headless"
            )
        return error(module, shown, f"install it again: {install}")
    found = str(getattr(imported, "__version__", "") or _version_of(name))
    place = getattr(imported, "__file__", None) or ""
    if _numbers(found) < _numbers(least):
        return error(module, f"version {found} is older than {least} ({place})", install)
    return ok(module, f"{found} ({place})")


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _numbers(version: str) -> tuple[int, ...]:
    """The first numbers of a version; an unknown version counts as new."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else (10**6,)


def pairs() -> list[Result]:
    """OpenCV and numpy work together: an image passes from one to the other and back."""
    try:
        import numpy as np

        import cv2  # isort: skip - after numpy, without which it prints
    except Exception:  # reported by `packages`
        return []
    versions = f"OpenCV {cv2.__version__} with numpy {np.__version__}"
    try:
        image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        right: Any = np.array_equal(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), image[..., ::-1])
    except Exception as failure:  # OpenCV's errors and those of its binding have no common class
        right, versions = False, f"{versions}: {' '.join(str(failure).split())[:200]}"
    if not right:
        return [
            error(
                "numpy and OpenCV",
                f"{versions} does not convert an image",
                f"{sys.executable} -m pip install --upgrade opencv-python-headless, or 'numpy<2'",
            )
        ]
    return [ok("numpy and OpenCV", versions)]


def duplicates(installed: Sequence[str] | None = None) -> list[Result]:
    """Packages that overwrite each other.

    Args:
        installed: names of the installed packages; None: those of this Python.
    """
    if installed is None:
        installed = [name for d in metadata.distributions() if (name := d.metadata["Name"])]
    names = {name.lower().replace("_", "-") for name in installed}
    found = []
    for group in SAME_MODULE:
        present = [name for name in group if name in names]
        if len(present) > 1:
            found.append(
                warning(
                    "installed twice",
                    f"{' and '.join(present)} overwrite each other",
                    f"pip uninstall -y {' '.join(present)}; pip install {present[0]}",
                )
            )
    return found


def shadowed(ros_distribution: str, user_folder: str | None = None) -> list[Result]:
    """Packages in the user's folder that hide those which ROS was built with.

    Args:
        ros_distribution: name of the sourced ROS 2; empty for none.
        user_folder: of the user's packages; None: that of this Python.
    """
    folder = user_folder or site.getusersitepackages()
    hidden = [
        name
        for name in ("numpy", "cv2")
        if (getattr(sys.modules.get(name), "__file__", None) or "").startswith(folder)
    ]
    if not hidden or not ros_distribution:
        return []
    names = " ".join("opencv-python opencv-python-headless" if n == "cv2" else n for n in hidden)
    return [
        warning(
            "user's packages",
            f"{' and '.join(hidden)} in {folder} hide those that ROS 2 {ros_distribution} uses",
            f"pip uninstall --break-system-packages {names}, and use a virtual environment",
        )
    ]
