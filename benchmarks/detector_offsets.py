"""Offsets of the joints that BlazePose marks from anatomical joint centres.

python benchmarks/detector_offsets.py --footage DIR [--detectors full heavy]

DIR holds recordings of keypoints with marker motion capture (see
`emf_ros.train.footage.read_footage`). For each recording a camera is fitted to the keypoints: its
position, its focal length and the difference of the two clocks. Together with it one constant
offset per kind of joint is fitted in the body's frame: outwards, up along the trunk, and forward,
in shares of the trunk's length. A prior keeps offsets near zero, since an offset of all joints
equals a move of the camera. Rows show each recording alone and all together; their differences
show the uncertainty.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from emf_ros.runtime.machine import machine
from emf_ros.skeletons import BLAZEPOSE33, H36M17
from emf_ros.train.footage import KeypointFootage, read_footage

KINDS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
JOINTS = [f"{side}_{kind}" for kind in KINDS for side in ("left", "right")]

#: Standard deviation of the prior on an offset, in shares of the trunk's length.
OFFSET_PRIOR = 0.03
#: Standard deviation of the prior on the focal length, as a share of the nominal one.
FOCAL_PRIOR = 0.04
#: Standard deviation of a keypoint's error, px.
NOISE_PX = 6.0
#: Number of frames that a recording counts as, whatever its length: errors of neighbours agree.
EFFECTIVE_FRAMES = 38

#: Minimum share of the keypoints at whose time there is a truth.
MIN_COVERED = 0.5


@dataclass
class Fitted:
    """One recording as tensors, and its camera's parameters.

    Attributes:
        stamp: (M,) s of the keypoints; seen: (M, 12, 2) px; weight: (M, 12).
        time: (N,) s of the truth; truth: (N, 12, 3) m.
        focal_px, centre_px: nominal intrinsics.
        camera: (8,) rotation vector, translation m, log of the focal length's factor, clock s.
    """

    stamp: Tensor
    seen: Tensor
    weight: Tensor
    time: Tensor
    truth: Tensor
    focal_px: float
    centre_px: Tensor
    camera: Tensor

    @classmethod
    def of(cls, clip: KeypointFootage) -> Fitted:
        points = clip.keypoints.keypoints_2d[:, [BLAZEPOSE33.index(j) for j in JOINTS]]
        truth = clip.truth.joints[:, [H36M17.index(j) for j in JOINTS]]
        assert clip.keypoints.camera is not None
        matrix = clip.keypoints.camera.matrix

        def tensor(x: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(x, np.float64))

        return cls(
            tensor(clip.keypoints.stamp),
            tensor(np.nan_to_num(points[..., :2])),
            tensor((points[..., 2] > 0.5).astype(float)),
            tensor(clip.truth.stamp),
            tensor(truth),
            float(matrix[0, 0]),
            tensor(matrix[:2, 2]),
            torch.zeros(8, dtype=torch.float64),
        )

    def at(self, clock: Tensor) -> tuple[Tensor, Tensor]:
        """The truth (M, 12, 3) m when the keypoints were seen, and whether it covers that time."""
        when = self.stamp + clock
        after = torch.searchsorted(self.time, when.detach()).clamp(1, len(self.time) - 1)
        share = (when - self.time[after - 1]) / (self.time[after] - self.time[after - 1])
        inside = ((share >= 0) & (share <= 1)).to(when.dtype)
        share = share.clamp(0, 1)[:, None, None]
        return (1 - share) * self.truth[after - 1] + share * self.truth[after], inside

    def misses(self, camera: Tensor, offsets: Tensor) -> Tensor:
        """(M, 12, 2) how far the marked joints' images are from the keypoints, in NOISE_PX."""
        joints, inside = self.at(camera[7])
        marked = joints + marks(joints, offsets)
        turn = torch.linalg.matrix_exp(cross_matrix(camera[:3]))
        seen = marked @ turn.T + camera[3:6]
        focal = self.focal_px * camera[6].exp()
        points = focal * seen[..., :2] / seen[..., 2:].clamp(min=0.1) + self.centre_px
        return (points - self.seen) * (self.weight * inside[:, None])[..., None] / NOISE_PX

    def cost(self, camera: Tensor, offsets: Tensor) -> Tensor:
        """The robust sum (soft L1) over the recording, and the focal length's prior."""
        squared = self.misses(camera, offsets).square().sum(dim=-1)
        robust = 2 * ((1 + squared).sqrt() - 1)
        share = min(1.0, EFFECTIVE_FRAMES / len(self.stamp))
        return share * robust.sum() + (camera[6] / FOCAL_PRIOR).square()


def cross_matrix(v: Tensor) -> Tensor:
    """(3,) -> (3, 3), v x."""
    zero = torch.zeros_like(v[0])
    rows = ((zero, -v[2], v[1]), (v[2], zero, -v[0]), (-v[1], v[0], zero))
    return torch.stack([torch.stack(row) for row in rows])


def marks(joints: Tensor, offsets: Tensor) -> Tensor:
    """From joint centres (M, 12, 3) m to where they are marked, (M, 12, 3) m; offsets (6, 3)."""
    by_kind = joints.unflatten(1, (6, 2))  # left, right
    hips, shoulders = by_kind[:, 0], by_kind[:, 3]
    trunk = shoulders.mean(dim=1) - hips.mean(dim=1)
    length = trunk.norm(dim=-1, keepdim=True)
    up = trunk / length
    out = []
    for kind in range(6):
        pair = hips if kind < 3 else shoulders
        left = pair[:, 0] - pair[:, 1]
        left = left / left.norm(dim=-1, keepdim=True)
        forward = torch.linalg.cross(left, up)
        for sign in (1.0, -1.0):
            o = offsets[kind]
            out.append(length.mean() * (sign * o[0] * left + o[1] * up + o[2] * forward))
    return torch.stack(out, dim=1)


def minimise(parameters: list[Tensor], cost: Callable[[], Tensor], steps: int = 12) -> float:
    """L-BFGS with restarts; the parameters are changed in place."""
    for p in parameters:
        p.requires_grad_()
    for _ in range(steps):
        optimizer = torch.optim.LBFGS(parameters, max_iter=40, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()  # noqa: B023 - called inside the loop alone
            value = cost()
            value.backward()
            return value

        optimizer.step(closure)
    return float(cost().detach())


def find_camera(clip: Fitted) -> None:
    """A first guess, from cameras all around that look level at the person."""
    none = torch.zeros(6, 3, dtype=torch.float64)
    best: tuple[float, Tensor] | None = None
    for yaw in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.diag([1.0, -1.0, -1.0]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
        values, vectors = np.linalg.eigh(0.5 * (turn + turn.T))
        axis = vectors[:, np.argmax(values)]
        camera = torch.zeros(8, dtype=torch.float64)
        camera[:3] = torch.from_numpy(angle * axis)
        middle = clip.truth.reshape(-1, 3).mean(dim=0)
        rotation = torch.linalg.matrix_exp(cross_matrix(camera[:3]))
        camera[3:6] = -rotation @ middle + torch.tensor([0.0, 0.0, 3.5], dtype=torch.float64)
        value = minimise([camera], partial(clip.cost, camera, none), 3)
        # Nothing is missed where the clock leaves no truth to compare with.
        covered = float(clip.at(camera.detach()[7])[1].mean())
        if covered > MIN_COVERED and (best is None or value < best[0]):
            best = (value, camera.detach())
    if best is None:
        raise SystemExit("no camera is found from which the truth looks like the keypoints")
    clip.camera = best[1]


def fit(clips: list[Fitted]) -> Tensor:
    """Offsets (6, 3) that the recordings share."""
    offsets = torch.zeros(6, 3, dtype=torch.float64)
    cameras = [clip.camera.clone() for clip in clips]

    def cost() -> Tensor:
        total = (offsets / OFFSET_PRIOR).square().sum()
        for clip, camera in zip(clips, cameras, strict=True):
            total = total + clip.cost(camera, offsets)
        return total

    minimise([offsets, *cameras], cost)
    return offsets.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", required=True, metavar="DIR")
    parser.add_argument("--detectors", nargs="*", default=["full", "heavy"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}\n")
    print("| BlazePose | recordings |", " | ".join(KINDS), "|")
    print("|" + " --- |" * (2 + len(KINDS)))
    for detector in args.detectors:
        names, clips = [], []
        for clip in read_footage(args.footage, detector):
            names.append(clip.name)
            clips.append(Fitted.of(clip))
            find_camera(clips[-1])
        sets = [(name, [clip]) for name, clip in zip(names, clips, strict=True)]
        for name, some in [*sets, ("all", clips)]:
            cells = [" ".join(f"{v:+.3f}" for v in row) for row in fit(some).tolist()]
            print(f"| {detector} | {name} | {' | '.join(cells)} |", flush=True)
    print("\nout, up, forward; shares of the trunk's length")


if __name__ == "__main__":
    main()
