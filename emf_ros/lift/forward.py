"""The windows that the model is given, and one forward pass for those of several cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.canonical_window import CanonicalWindow, canonical_window
from ..model.presets import LifterConfig
from ..skeletons import get_layout
from ..stamps import NANOSECONDS
from .batching import Lifted
from .engine import Engine
from .reference_frames import View
from .tracks import Track
from .window import Observations


@dataclass(frozen=True)
class WindowTimes:
    """The stamps of the frames of a window.

    Attributes:
        stamp_ns: of the image to be described, ns.
        newest_ns: of the newest image, ns; frames after it repeat it.
        frame: index of the frame that describes the image, 0..T-1.
        stamps_ns: (T,) int64, ns.
    """

    stamp_ns: int
    newest_ns: int
    frame: int
    stamps_ns: np.ndarray

    @classmethod
    def of(cls, stamp_ns: int, newest_ns: int, lag: int, model: LifterConfig) -> WindowTimes:
        """The times of a window in which an image stands `lag` frames before the end."""
        frame = model.frames - 1 - lag
        step_ns = NANOSECONDS / model.rate_hz
        steps = np.round((np.arange(model.frames) - frame) * step_ns).astype(np.int64)
        return cls(stamp_ns, newest_ns, frame, np.minimum(stamp_ns + steps, newest_ns))


@dataclass
class Windows:
    """The windows of one camera's people: P windows of T frames.

    Attributes:
        stamp_ns: of the image to be described, ns.
        lag_ns: how much older it is than the newest image, ns.
        frame: index of the frame that describes it, 0..T-1.
        tracks: the people, by id.
        observed: what is remembered of them; None where there are none.
        rays: (P, T, 17, 2) on the plane z = 1; 0 where missing.
        scores: (P, T, 17) 0..1; 0 where missing.
        canonical: the windows as the model takes them.
        view: how the camera stood, and how it moved.
        observed_in: (P, T) whether a frame is of its own time. Those before a person's first
            observation repeat it, and those after the newest image repeat that.
    """

    stamp_ns: int
    lag_ns: int
    frame: int
    tracks: dict[int, Track]
    observed: Observations | None
    rays: np.ndarray
    scores: np.ndarray
    canonical: CanonicalWindow
    view: View
    observed_in: np.ndarray

    @classmethod
    def of(
        cls, tracks: dict[int, Track], times: WindowTimes, model: LifterConfig, view: View
    ) -> Windows:
        """The windows of an image.

        Args:
            tracks: of the people, by id; each has an observation by the stamp of the image.
            times: of the frames.
            model: length of the windows, and their layout.
            view: how the camera stood in the image, and how it moved in the window.
        """
        points, observed = np.zeros((0, model.frames, len(get_layout(model.layout)), 3)), None
        observed_in = np.zeros((0, model.frames), dtype=bool)
        if tracks:
            observed = Observations.of([track.history for track in tracks.values()])
            points = observed.resample(times.stamps_ns)
            observed_in = times.stamps_ns >= observed.stamps_ns[:, :1]
            observed_in &= np.diff(times.stamps_ns, prepend=times.stamps_ns[0] - 1) > 0
        rays, scores = view.steadied(points[..., :2], points[..., 2])
        canonical = canonical_window(rays, scores)
        lag_ns = times.newest_ns - times.stamp_ns
        shown = times.stamp_ns, lag_ns, times.frame
        return cls(*shown, tracks, observed, rays, scores, canonical, view, observed_in)


def run_model(engine: Engine, windows: Sequence[Windows]) -> list[Lifted]:
    """Run the model on the windows of several cameras, in one forward pass.

    Args:
        engine: runs the model.
        windows: one for each camera, of P people; P may be 0.

    Returns:
        for each camera positions (P, T, 17, 3) m and their standard deviation (P, T, 17) m, see
        `Engine.lift`.
    """
    if not windows:
        return []
    keypoints = np.concatenate([one.canonical.keypoints for one in windows]).astype(np.float32)
    positions, stddev = engine.lift(keypoints)
    cuts = np.cumsum([len(one.tracks) for one in windows])[:-1]
    return list(zip(np.split(positions, cuts), np.split(stddev, cuts), strict=True))
