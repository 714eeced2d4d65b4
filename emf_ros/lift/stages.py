"""The stages from the output of the model to the poses of people, in their order.

The model gives joints relative to the pelvis, in the frame of a virtual camera, for each frame of
each window. Each stage takes a `PoseBatch` and returns the next one. `STAGES` is their order:

1. `turn_back` comes first: all later stages work in the camera's frame.
2. `remember_bone_lengths` and 3. `scale_to_height` set the size, on which every distance depends.
4. `solve_roots` needs the size, and gives the distance.
5. `choose_frame` keeps only the described frame. Its standard deviations grow where joints are not
   visible.
6. `filter_jitter` removes the jumps between one window and the next; bones keep their lengths.
7. `measure_distance` corrects the distance by the floor and by a depth image, and the size with it.
8. `measure_velocity` needs the measured distance: at half the distance people have half the speed.
9. `reject_uncertain_roots` removes the roots of people with too few visible joints.
10. `turn_into_target` gives all in the target frame, where there is one.

Shapes: P people, T frames of the window, 17 joints. Frame: the camera's optical frame, of the
described image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..geometry.camera import Camera, CameraError
from ..reasons import Reason
from ..types import Pose3D, TrackState
from .bones import Bones, bone_lengths, window_lengths, with_bone_lengths
from .config import PipelineConfig
from .depth import trunk_depth, with_depth
from .forward import Windows
from .ground import on_ground
from .height import height_scale
from .root import HEIGHT_SPREAD, root_velocity, smooth_root, solve_root
from .tracks import Track
from .visibility import MIN_VISIBLE_SHARE, distance_spread, seen_share, with_unseen


@dataclass(frozen=True)
class StageContext:
    """The inputs of the stages besides the batch.

    Attributes:
        config: of the pipeline.
        rate_hz: of the frames of the window.
        camera: intrinsics of the images.
        camera_known: whether they are the camera's own; otherwise they are guessed.
        depth: (H, W) depth image of the described moment; None where there is none.
        depth_missing: why there is none; None where there is one, or poses do without.
        counts: takes the number of rejections, by reason.
    """

    config: PipelineConfig
    rate_hz: float
    camera: Camera | None
    camera_known: bool
    depth: np.ndarray | None
    depth_missing: Reason | None
    counts: Counter[Reason]


_EYE = np.eye(3)


def _none() -> np.ndarray:
    return np.zeros(0)


@dataclass
class PoseBatch:
    """The poses of one camera's people on their way through the stages.

    Attributes:
        windows: of keypoints, the input of the model.
        positions: (P, T, 17, 3) m about the pelvis, in the virtual camera: the output of the model.
        stddev: (P, T, 17) m along each axis, likewise.
        usable: (P,) whether there were enough keypoints and the output is finite.
        seen: (P, 17) whether a joint was seen within the joint timeout.
        share: (P,) share of the skeleton that is seen, or that the bone lengths are known from.
        window_m: (P, T, 17, 3) m about the pelvis, in the camera's frame.
        height_spread: (P,) relative standard deviation of the size.
        window_roots: (P, T, 3) m.
        joints: (P, 17, 3) m about the pelvis, at the described frame.
        spread_m: (P, 17) m, standard deviation of these along each axis.
        root: (P, 3) m; NaN where unknown.
        covariance: (P, 3, 3) m^2, of the root.
        velocity: (P, 3) m/s, of the root; NaN where unknown.
        placed: (P,) whether the root is known.
        distance_scale: (P,) factor by which a measured distance changed root and size.
    """

    windows: Windows
    positions: np.ndarray
    stddev: np.ndarray
    usable: np.ndarray
    seen: np.ndarray
    share: np.ndarray
    window_m: np.ndarray = field(default_factory=_none)
    height_spread: np.ndarray = field(default_factory=_none)
    window_roots: np.ndarray = field(default_factory=_none)
    joints: np.ndarray = field(default_factory=_none)
    spread_m: np.ndarray = field(default_factory=_none)
    root: np.ndarray = field(default_factory=_none)
    covariance: np.ndarray = field(default_factory=_none)
    velocity: np.ndarray = field(default_factory=_none)
    placed: np.ndarray = field(default_factory=_none)
    distance_scale: np.ndarray = field(default_factory=_none)

    @classmethod
    def of(
        cls, windows: Windows, positions: np.ndarray, stddev: np.ndarray, config: PipelineConfig
    ) -> PoseBatch:
        """The output of the model, before the first stage."""
        assert windows.observed is not None, "there are people"
        seen = windows.observed.seen_within(
            config.min_score, windows.stamp_ns, config.joint_timeout_s
        )
        finite = np.isfinite(positions).reshape(len(positions), -1).all(axis=1)
        usable = windows.canonical.valid & finite
        return cls(windows, positions, stddev, usable, seen, seen_share(seen))

    @property
    def tracks(self) -> list[Track]:
        return list(self.windows.tracks.values())


Stage = Callable[[PoseBatch, StageContext], PoseBatch]


def turn_back(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Turn the poses from the virtual camera into the camera's frame."""
    people, frames, joints, _ = batch.positions.shape
    rows = batch.positions.reshape(people, frames * joints, 3).astype(float)
    # The inverse of the rotation, on rows.
    window_m = (rows @ batch.windows.canonical.rotation).reshape(people, frames, joints, 3)
    return replace(batch, window_m=window_m)


def remember_bone_lengths(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Give each person the mean bone lengths of all windows so far."""
    if not context.config.bone_length_memory_s:
        return batch
    bones, share = Bones.of(batch.window_m), batch.share.copy()
    lengths = window_lengths(bones, batch.stddev)
    for row, track in enumerate(batch.tracks):
        if batch.usable[row] and track.bones is not None:
            lengths[row] = track.bones.add(lengths[row], batch.windows.stamp_ns, float(share[row]))
            # The scale is also known from the earlier windows.
            share[row] = max(share[row], track.bones.share)
    window_m = with_bone_lengths(batch.window_m, lengths[:, None], bones)
    return replace(batch, window_m=window_m, share=share)


def scale_to_height(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Scale people to their known height; the uncertainty of the size is that of the distance."""
    unseen = distance_spread(batch.share)
    own_m = np.array([track.height_m for track in batch.tracks])
    heights_m = np.where(np.isfinite(own_m), own_m, context.config.person_height_m)
    if np.isnan(heights_m).all():
        return replace(batch, height_spread=np.hypot(HEIGHT_SPREAD, unseen))
    lengths = bone_lengths(batch.window_m[:, batch.windows.frame])
    factor, spread = height_scale(lengths, heights_m)
    return replace(
        batch,
        window_m=factor[:, None, None, None] * batch.window_m,
        height_spread=np.hypot(spread, unseen),
    )


def solve_roots(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Solve the root of each frame of the window, and smooth that of the described one."""
    windows, frame = batch.windows, batch.windows.frame
    people, frames = batch.window_m.shape[:2]
    scores = np.where(windows.scores >= context.config.min_score, windows.scores, 0.0)
    solved = solve_root(
        batch.window_m.reshape(people * frames, -1, 3),
        windows.rays.reshape(people * frames, -1, 2),
        scores.reshape(people * frames, -1),
        stddev=batch.stddev.reshape(people * frames, -1).astype(float),
        height_spread=np.repeat(batch.height_spread, frames),
    )
    roots = windows.view.moved(solved.root.reshape(people, frames, 3))
    # A person who is not seen has no root: robots act on it, and a guess is worse than none.
    placed = batch.usable & np.isfinite(roots[:, frame]).all(axis=-1) & context.camera_known
    placed &= np.array([t.history.newest_ns >= windows.stamp_ns for t in batch.tracks])
    root = np.where(placed[:, None], smooth_root(roots, frame, context.rate_hz), np.nan)
    covariance = solved.of(slice(frame, None, frames)).covariance
    return replace(
        batch,
        window_roots=roots,
        placed=placed,
        root=root,
        covariance=covariance,
    )


def choose_frame(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Keep the described frame; unseen joints widen the standard deviations."""
    frame = batch.windows.frame
    spread_m = with_unseen(batch.stddev[:, frame].astype(float), batch.seen)
    # The uncertainty of an unseen pelvis adds to that of the root.
    aside = np.where(batch.seen[:, 0], 0.0, spread_m[:, 0]) ** 2
    return replace(
        batch,
        joints=batch.window_m[:, frame].copy(),
        spread_m=spread_m,
        covariance=batch.covariance + aside[:, None, None] * _EYE,
    )


def filter_jitter(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Remove the jumps between the poses of the last window and of this one, without delay."""
    if not context.config.jitter_filter_s:
        return batch
    joints, lengths = batch.joints.copy(), bone_lengths(batch.joints)
    view = batch.windows.view
    # The filter compares poses of several images. In the target frame the camera's turn is none.
    camera = None if view.steps is None else view.scene.camera
    for row, track in enumerate(batch.tracks):
        if batch.usable[row] and track.jitter is not None:
            window_m = batch.window_m[row]
            if camera is not None:
                window_m = camera.vectors(window_m)
            smooth = track.jitter.filter(
                batch.windows.stamp_ns, window_m, batch.windows.frame, context.rate_hz
            )
            joints[row] = smooth if camera is None else camera.inverse().vectors(smooth)
    return replace(batch, joints=with_bone_lengths(joints, lengths))


def measure_distance(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Correct the distances by the floor and by a depth image, where there are any."""
    batch = replace(batch, distance_scale=np.ones(len(batch.joints)))
    windows, before = batch.windows, np.linalg.norm(batch.root, axis=-1)
    ground = windows.view.ground
    if context.depth_missing is not None:
        context.counts[context.depth_missing] += 1
    if ground is None and context.depth is None:
        return batch
    root, covariance = batch.root, batch.covariance
    rays, scores = windows.rays[:, windows.frame], windows.scores[:, windows.frame]
    reasons: list[str] = []
    if ground is not None:
        root, covariance, why = on_ground(
            root, covariance, batch.joints, rays, scores, ground, context.config.min_score
        )
        reasons += why.tolist()
    if context.depth is not None and context.camera is not None:
        height, width = context.depth.shape
        try:
            camera = context.camera.scaled_to(width, height)
        except CameraError:
            context.counts[Reason.DEPTH_SIZE_MISMATCH] += 1
        else:
            seen = scores >= context.config.min_score
            points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
            pixels = np.where(seen[..., None], camera.project(points), np.nan)
            surface, why = trunk_depth(context.depth, pixels)
            reasons += why.tolist()
            root, covariance, why = with_depth(root, covariance, batch.joints, surface)
            reasons += why.tolist()
    context.counts.update(Reason(why) for why in reasons if why)
    known = np.isfinite(before)
    scale = np.linalg.norm(root, axis=-1) / np.where(known, before, 1.0)
    scale = np.where(known, scale, 1.0)
    # The image fixes the angles: a person at half the distance has half the size.
    return replace(
        batch,
        root=root,
        covariance=covariance,
        distance_scale=scale,
        joints=batch.joints * scale[:, None, None],
        spread_m=batch.spread_m * scale[:, None],
    )


def measure_velocity(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Measure the velocity in the frames that people were observed in, at the measured distance.

    All frames of a window have the same bone lengths. So one factor corrects the distances of all,
    from where the camera was in each. The factors of earlier images do not count: a person does
    not move because the floor is measured in one image and not in the next.
    """
    windows = batch.windows
    scale = batch.distance_scale[:, None, None]
    # The camera at each frame, from where it is in this image.
    places = 0.0 if windows.view.steps is None else windows.view.steps.translation
    roots = places + scale * (batch.window_roots - places)
    # A copy of an observation shows no movement.
    roots = np.where(windows.observed_in[..., None], roots, np.nan)
    velocity = root_velocity(roots, windows.frame, context.rate_hz)
    return replace(batch, velocity=np.where(batch.placed[:, None], velocity, np.nan))


def reject_uncertain_roots(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Remove the roots of people whose visible part is too small to estimate the distance.

    A distance from the floor or from a depth image is kept.
    """
    unsure = batch.placed & (batch.share < MIN_VISIBLE_SHARE) & (batch.distance_scale == 1.0)
    context.counts.update([Reason.TOO_LITTLE_VISIBLE] * int(unsure.sum()))
    return replace(batch, placed=batch.placed & ~unsure)


def turn_into_target(batch: PoseBatch, context: StageContext) -> PoseBatch:
    """Give the poses in the target frame; the velocity is against that frame already."""
    view = batch.windows.view
    if view.steps is None:
        return batch
    camera = view.scene.camera
    return replace(
        batch,
        joints=camera.vectors(batch.joints),
        root=camera.points(batch.root),
        covariance=camera.covariance(batch.covariance),
        velocity=camera.vectors(batch.velocity),
    )


STAGES: tuple[Stage, ...] = (
    turn_back,
    remember_bone_lengths,
    scale_to_height,
    solve_roots,
    choose_frame,
    filter_jitter,
    measure_distance,
    measure_velocity,
    reject_uncertain_roots,
    turn_into_target,
)


def poses_of(batch: PoseBatch, context: StageContext) -> list[Pose3D]:
    """The people of a batch that has passed the stages; joints that were not visible are NaN."""
    described_ns, frame = batch.windows.stamp_ns, batch.windows.frame
    known = batch.seen.copy()
    # All other joints are relative to the pelvis: it is known while any of them is.
    known[:, 0] |= known.any(axis=1)
    placed = batch.placed[:, None]
    joints = np.where(known[..., None], batch.joints, np.nan)
    root = np.where(placed, batch.root, np.nan)
    for row, track in enumerate(batch.tracks):
        if track.smoothing is not None and batch.usable[row]:
            smooth = track.smoothing.filter(described_ns, np.vstack([root[row], joints[row]]))
            root[row], joints[row] = smooth[0], smooth[1:]
    joints += np.where(placed, root, 0.0)[:, None]
    confidence = np.where(known, batch.windows.scores[:, frame], 0.0)
    stddev = np.where(known, batch.spread_m, np.nan)
    covariance = np.where(placed[..., None], batch.covariance, np.nan)
    velocity = np.where(placed, batch.velocity, np.nan)

    poses = []
    usable, is_placed = batch.usable.tolist(), batch.placed.tolist()
    for row, (track_id, track) in enumerate(batch.windows.tracks.items()):
        is_warm = track.history.observed >= context.config.min_frames
        state = TrackState.TRACKED if is_warm else TrackState.WARMING_UP
        if track.history.newest_ns < described_ns:
            state = TrackState.COASTING
        if not usable[row]:
            # The person has not been seen for so long that the window is empty.
            context.counts[Reason.NO_POSE] += 1
            pose = Pose3D.unknown(track_id, state)
            pose.last_root, pose.last_root_covariance = track.place.at(described_ns)
            poses.append(pose)
            continue
        if is_placed[row]:
            track.place.update(described_ns, root[row], covariance[row])
        pose = Pose3D(
            track_id,
            state,
            track.score,
            joints[row],
            confidence[row],
            stddev[row],
            root[row],
            is_placed[row],
            covariance[row],
            velocity[row],
            *track.place.at(described_ns),
        )
        poses.append(pose)
    return poses
