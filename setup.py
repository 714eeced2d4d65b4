"""Installs emf_ros with pip. colcon builds it by CMakeLists.txt; setup.cfg lists the programs."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "emf_ros"
#: Packages for the training and the lifting engine of torch, and for the export of weights.
TORCH = ["onnx>=1.14", "safetensors>=0.4", "torch>=2.1"]
#: Packages for the files of other programs, by the extra that installs them.
FILES = {
    "bags": ["mcap>=1.1", "rosbags>=0.11"],
    "c3d": ["ezc3d>=1.5"],
    "parquet": ["pyarrow>=10"],
    "rerun": ["rerun-sdk>=0.24"],
}
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
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # The second has the licences of the data behind the weights.
    license_files=["LICENSE", "THIRD_PARTY.md"],
    maintainer="emf_ros maintainers",
    maintainer_email="maintainers@emf-ros.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    # The oldest are those of Ubuntu 22.04. The versions that are tested are in requirements/.
    install_requires=[
        "numpy>=1.21",
        "onnxruntime>=1.14",
        "opencv-python-headless>=4.5",
        "PyYAML>=5.4",
        "tqdm>=4.57",
    ],
    extras_require={
        "torch": TORCH,
        "train": [*TORCH, "matplotlib>=3.5", "tensorboard>=2.9"],
        "mediapipe": ["mediapipe>=0.10.14"],
        "viewer": ["viser>=1.1,<2"],
        "cluster": ["ray>=2.9"],
        "completion": ["argcomplete>=1.12"],
        "docs": ["mkdocs-material>=9.5,<10"],
        **FILES,
        "files": sorted(package for packages in FILES.values() for package in packages),
    },
    zip_safe=True,
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files("launch", "*.py"),
        *shared_files("config", "*"),
        *shared_files("models", "*"),
        # Files of messages are written and read without ROS.
        *shared_files("emf_ros_msgs/msg", "*.msg"),
    ],
)
