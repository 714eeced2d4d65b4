"""The frames besides the camera's: where poses are given, where the floor and the robot's base are.

A `ReferenceFrames` belongs to one camera. It asks a `TransformTree` where the camera was at each
frame of a window. `View` is its answer for one image. Without a `ReferenceFrames` poses are in the
camera's frame, and the view is that of a camera at rest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..geometry.transform_tree import TransformTree, bare
from ..geometry.transforms import Transform
from ..reasons import Reason
from ..stamps import NANOSECONDS
from ..types import Scene
from .ground import GroundPlane
from .root import TURN_S

#: The vertical of a camera that is held level, in its optical frame.
LEVEL_UP = np.array([0.0, -1.0, 0.0])

#: Minimum depth of a ray that is turned into another image of the same camera, as of the image
#: plane at 1: a person beside the camera has none.
MIN_DEPTH = 0.05


class Log(Protocol):
    """Counts what is refused, and says each fault once."""

    counts: Counter[Reason]

    def warn_once(self, key: str, text: str) -> None: ...


@dataclass(frozen=True)
class View:
    """How a camera stands in one image, and how it moved in the window before.

    Attributes:
        scene: camera, floor and base in the frame of the poses.
        ground: the floor as the camera sees it; None where it is not known.
        steps: (P, T) from the camera at each frame of each person's window to the camera in this
            image; None for a camera at rest.
    """

    scene: Scene
    ground: GroundPlane | None = None
    steps: Transform | None = None

    @classmethod
    def at_rest(cls, ground: GroundPlane | None) -> View:
        """The view of a camera whose own frame is that of the poses."""
        up = LEVEL_UP if ground is None else ground.up
        height_m = np.nan if ground is None else ground.height_m
        return cls(Scene(Transform.identity(), up, height_m), ground)

    def steadied(self, rays: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rays of a window as if the camera had not turned.

        Otherwise the model takes the turn of the camera for a movement of the person.

        Args:
            rays: (P, T, 17, 2) on the plane z = 1.
            scores: (P, T, 17).

        Returns:
            both, along the axes of the camera in this image. A keypoint is missing where the turn
            is not known, or leads out of the half space in front of the camera.
        """
        if self.steps is None:
            return rays, scores
        points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
        points = np.einsum("ptij,ptkj->ptki", self.steps.rotation, points)
        # A comparison with NaN is false.
        ahead = points[..., 2] > MIN_DEPTH
        depth = np.where(ahead, points[..., 2], 1.0)[..., None]
        return (
            np.where(ahead[..., None], points[..., :2] / depth, 0.0),
            np.where(ahead, scores, 0.0),
        )

    def moved(self, roots: np.ndarray) -> np.ndarray:
        """The roots (P, T, 3) m of steadied rays, from where the camera is in this image."""
        return roots if self.steps is None else roots + self.steps.translation


class ReferenceFrames:
    """The frames that the poses of one camera are given in or measured by.

    Args:
        tree: the transforms.
        target: name of the frame of the poses; empty for the camera's.
        ground: name of a frame whose z axis points up from the floor at its origin; empty where
            the settings of the pipeline tell the floor, or nothing does.
        base: name of the frame that the closest approach is told for; empty for the camera's.
        log: counts and says what is missing.

    Attributes:
        target: as given.
        missed: what the last image with people lacked, and why: `Reason.TRANSFORM_MISSING` where
            its poses were refused.
    """

    def __init__(self, tree: TransformTree, target: str, ground: str, base: str, log: Log) -> None:
        self.target, self._ground, self._base = bare(target), bare(ground), bare(base)
        self.missed: dict[Reason, str] = {}
        self._tree, self._log = tree, log

    def view(
        self,
        camera: str,
        stamps_ns: np.ndarray,
        frame: int,
        first_ns: np.ndarray,
        ground: GroundPlane | None,
    ) -> View | None:
        """The view of an image.

        Args:
            camera: name of the camera's optical frame.
            stamps_ns: (T,) int64, of the frames of the window, ns.
            frame: index of the one that is described.
            first_ns: (P,) int64, stamp of the first observation of each person, ns. The frames
                before repeat it.
            ground: the floor by the settings.

        Returns:
            None where the transform to the frame of the poses is not known: they are refused.
        """
        # Another thread may read the old one meanwhile.
        self.missed = {}
        seconds = (stamps_ns - stamps_ns[frame]) / NANOSECONDS
        stamp_ns = int(stamps_ns[frame])
        poses, steps = Transform.identity(), None
        places = np.zeros((len(stamps_ns), 3))
        if self.target:
            count = len(stamps_ns)
            moves = self._tree.lookup(
                self.target, camera, np.concatenate([stamps_ns, first_ns.astype(np.int64)])
            )
            if not moves.known[frame]:
                self._miss(Reason.TRANSFORM_MISSING, self.target, camera, stamp_ns)
                return None
            poses, places = moves[frame], moves.translation[:count]
            own = count + np.arange(len(first_ns))[:, None]
            rows = np.where(stamps_ns < first_ns[:, None], own, np.arange(count))
            steps = (poses.inverse() @ moves)[rows]
        up: np.ndarray | None = LEVEL_UP if ground is None else ground.up
        if self._ground:
            ground = self._floor(camera, stamp_ns)
            up = None if ground is None else ground.up
        if self._base:
            away = self._tree.lookup(self.target or camera, self._base, stamps_ns)
            places = away.translation
            if not away.known[frame]:
                self._miss(Reason.BASE_TRANSFORM_MISSING, self._base, camera, stamp_ns)
        scene = Scene(
            poses,
            None if up is None else poses.vectors(up),
            np.nan if ground is None else ground.height_m,
            places[frame],
            _velocity(places, seconds) if self.target or self._base else np.zeros(3),
        )
        return View(scene, ground, steps)

    def faults(self, camera: str, stamp_ns: int) -> dict[Reason, str]:
        """What an image would lack at a time, and why, whether it shows people or not."""
        texts = {
            Reason.BASE_TRANSFORM_MISSING: self._base,
            Reason.GROUND_TRANSFORM_MISSING: self._ground,
            Reason.TRANSFORM_MISSING: self.target,
        }
        return {
            reason: text
            for reason, frame in texts.items()
            if frame and (text := self._tree.trouble(frame, camera, stamp_ns))
        }

    def known(self, camera: str, stamp_ns: int) -> bool:
        """Whether all transforms of an image are known."""
        return not any(self._tree.trouble(*pair, stamp_ns) for pair in self._pairs(camera))

    def may_come(self, camera: str, stamp_ns: int) -> bool:
        """Whether transforms of an image are not known, and may be on their way."""
        return any(self._tree.may_come(*pair, stamp_ns) for pair in self._pairs(camera))

    def _pairs(self, camera: str) -> list[tuple[str, str]]:
        others = dict.fromkeys((self.target, self._ground, self._base))
        return [(other, camera) for other in others if other]

    def _floor(self, camera: str, stamp_ns: int) -> GroundPlane | None:
        """The floor by the transforms; None where they do not tell it."""
        found = self._tree.lookup(self._ground, camera, np.array([stamp_ns]))[0]
        if not found.known:
            self._miss(Reason.GROUND_TRANSFORM_MISSING, self._ground, camera, stamp_ns)
            return None
        try:
            return GroundPlane.of_normal(float(found.translation[2]), found.rotation[2])
        except ValueError as error:
            text = f"{self._ground!r} is not on the floor below {camera!r}: {error}"
            self._say(Reason.GROUND_TRANSFORM_MISSING, text)
            return None

    def _miss(self, reason: Reason, frame: str, camera: str, stamp_ns: int) -> None:
        text = self._tree.trouble(frame, camera, stamp_ns) or "the transform came late"
        pair = f"{frame!r} and {camera!r}"
        self._say(
            reason,
            f"no transform between {pair} at the time of the image: {text}; check it with ros2 run "
            f"tf2_ros tf2_echo {frame} {camera}",
            pair,
        )

    def _say(self, reason: Reason, text: str, key: str = "") -> None:
        self.missed[reason] = text
        self._log.counts[reason] += 1
        self._log.warn_once(f"{reason} {key}", f"{text} ({reason})")


def _velocity(places: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(3,) m/s, the slope of places (T, 3) m over the last frames; NaN where it is not known."""
    recent = (seconds <= 0) & (seconds > -TURN_S) & np.isfinite(places).all(axis=-1)
    if recent.sum() < 2:
        return np.full(3, np.nan)
    times, there = seconds[recent], places[recent]
    times = times - times.mean()
    total = float(times @ times)
    return np.asarray(times @ there / total) if total else np.full(3, np.nan)
