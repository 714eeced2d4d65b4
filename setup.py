"""Installs emf_ros, both as an ament_python package (colcon) and with pip."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "emf_ros"
HERE = Path(__file__).resolve().parent


def shared_files(folder: str, pattern: str) -> list[tuple[str, list[str]]]:
    """List a folder's files as data_files entries under share/emf_ros, subfolders kept.

    The paths are relative to this file, as setuptools requires.
    """
    by_folder: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(HERE)
            target = f"share/{NAME}/{relative.parent.as_posix()}"
            by_folder.setdefault(target, []).append(relative.as_posix())
    return sorted(by_folder.items())


setup(
    name=NAME,
    version=ElementTree.parse(HERE / "package.xml").findtext("version"),
    description="Tracked, metric 3D human skeletons from one ordinary camera, live in ROS 2.",
    license="Apache-2.0",
    maintainer="emf_ros maintainers",
    maintainer_email="maintainers@emf-ros.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    install_requires=["setuptools"],
    zip_safe=True,
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files("launch", "*.py"),
        *shared_files("config", "*"),
        *shared_files("models", "*"),
    ],
    entry_points={
        "console_scripts": [
            "emf-ros = emf_ros.cli.main:main",
            "video_source = emf_ros.nodes.video_source:main",
            "keypoint_detector = emf_ros.nodes.keypoint_detector:main",
            "skeleton_lifter = emf_ros.nodes.skeleton_lifter:main",
            "composed = emf_ros.nodes.composed:main",
        ],
    },
)
