"""2D pose models of the user's own in ONNX, by a YAML file beside each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...geometry.boxes import keypoint_boxes
from ...geometry.crops import Placement, box_placement, letterbox
from ...reasons import Reason
from ...runtime.device import DevicePolicy, GpuFallback, GpuUnavailable, first_line, to_stderr
from ...runtime.onnx import default_threads, make_gpu_session, make_session
from ...track.duplicates import without_duplicates
from ...types import Pose2D
from ..protocol import DetectorError
from .config import BOX_DECODES, TOP_DOWN, USUAL_SIZE, NetworkConfig, load_config
from .decode import (
    WrongShape,
    decode_boxes,
    decode_crops,
    decode_people,
    tensor,
)

#: Keypoints of this score say where a person is in the next image.
SURE = 0.3

#: Minimum number of such keypoints of a person who is followed.
MIN_BOX_KEYPOINTS = 4

#: Margin around the box of those keypoints, as a share of its longer side.
BOX_MARGIN = 0.1

#: Images further apart than this, ns, do not show people where they were.
NOT_FOLLOWED_NS = 500_000_000

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}


class Network:
    """One .onnx file in onnxruntime, on a GPU or on the CPU, see `runtime.device`.

    Args:
        path: of the file.
        config: how to feed and read it.
        policy: where it is to run.
        largest: maximum number of images in one pass, where the model takes several.
        say: takes what happens to a GPU, a line each.
        counts: where that is counted.

    Attributes:
        size: (width, height) of the input.

    Raises:
        DetectorError: the file does not load, or is another than the settings say.
    """

    def __init__(
        self,
        path: Path,
        config: NetworkConfig,
        policy: DevicePolicy,
        largest: int,
        say: Callable[[str], None],
        counts: Counter[Reason],
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise DetectorError("onnxruntime is not installed; pip install onnxruntime") from None
        if not path.is_file():
            raise DetectorError(f"there is no model file {path}")
        self.path, self.config = path, config
        self._threads = default_threads()
        try:
            on_cpu = make_session(path, self._threads)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise DetectorError(f"{path} cannot be loaded: {first_line(error)}") from None
        self._version = onnxruntime.__version__
        self._read_input(on_cpu)
        self._largest = largest if self._any_batch else 1
        # On the CPU first: what fails there is the file's fault.
        try:
            self._check_output(self._run_once(on_cpu, self._blank(1)))
        except DetectorError:
            raise
        except Exception as error:
            raise DetectorError(
                f"{path} fails on an input of {self._blank(1).shape}: {first_line(error)}"
            ) from None

        def guard(session: Any, make_cpu: Callable[[], Any] | None, where: str) -> GpuFallback[Any]:
            self._where = where
            return GpuFallback(session, make_cpu, policy, path.name, say, counts)

        def make_on_gpu() -> GpuFallback[Any]:
            session, where = make_gpu_session(path, self._threads, self._shapes())
            try:
                self._run_once(session, self._blank(1))
            except Exception as error:
                raise GpuUnavailable(first_line(error)) from None
            return guard(session, lambda: make_session(path, self._threads), where)

        self._sessions = policy.choose(
            make_on_gpu, lambda why: guard(on_cpu, None, f"{self._threads} CPU threads ({why})")
        )

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where it runs."""
        return self._sessions.device

    @property
    def description(self) -> str:
        """What runs where, and why."""
        note = self._sessions.note
        where = f"{self._threads} CPU threads" if note else self._where
        return f"{self.path.name} in onnxruntime {self._version} on {where}{note}"

    def _read_input(self, session: Any) -> None:
        """Name, type and shape of the input, which must be what the settings say."""
        inputs = session.get_inputs()
        taken = ", ".join(f"{i.name} {i.type} {list(i.shape)}" for i in inputs)
        nchw = self.config.channels == "nchw"
        form = "(1, 3, height, width)" if nchw else "(1, height, width, 3)"
        shape = list(inputs[0].shape) if inputs else []
        wrong = f"{self.path}: expected one input {form}, as settings say, found {taken or 'none'}"
        if len(inputs) != 1 or len(shape) != 4:
            raise DetectorError(wrong)
        numbers = [n if isinstance(n, int) and n > 0 else None for n in shape]
        batch, channels = numbers[0], numbers[1 if nchw else 3]
        height, width = numbers[2:] if nchw else numbers[1:3]
        if batch not in (None, 1) or channels not in (None, 3):
            raise DetectorError(wrong)
        usual = USUAL_SIZE.get(self.config.decode)
        said = self.config.size or (usual if None in (width, height) else None)
        if said is None:
            if width is None or height is None:
                raise DetectorError(
                    f"{self.path} takes any size; write size: [width, height] in its settings"
                )
            said = (width, height)
        if width not in (None, said[0]) or height not in (None, said[1]):
            raise DetectorError(
                f"{self.path}: expected an input {said[0]} wide and {said[1]} high, "
                f"found one {width} wide and {height} high"
            )
        self.size = said
        kind = _TYPES.get(inputs[0].type)
        if kind is None or self.config.dtype not in (None, kind):
            raise DetectorError(
                f"{self.path}: expected an input of {self.config.dtype or 'a known type'}, "
                f"found {inputs[0].type}"
            )
        if kind in ("uint8", "int32") and (any(self.config.mean) or set(self.config.std) != {1.0}):
            raise DetectorError(
                f"{self.path} takes {kind}: leave mean and std out, the model has its own"
            )
        self._name, self._dtype, self._any_batch = inputs[0].name, kind, batch is None
        self._outputs = [output.name for output in session.get_outputs()]

    def _shape(self, batch: int) -> tuple[int, int, int, int]:
        width, height = self.size
        if self.config.channels == "nchw":
            return batch, 3, height, width
        return batch, height, width, 3

    def _shapes(self) -> dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]:
        """For TensorRT's profile."""
        usual = min(2, self._largest)
        return {self._name: (self._shape(1), self._shape(usual), self._shape(self._largest))}

    def _blank(self, batch: int) -> np.ndarray:
        return np.zeros(self._shape(batch), self._dtype)

    def _check_output(self, outputs: dict[str, np.ndarray]) -> None:
        try:
            self.decode(outputs)
        except WrongShape as error:
            raise DetectorError(f"{self.path}: output of {self.config.decode}: {error}") from None

    def decode(self, outputs: dict[str, np.ndarray]) -> Any:
        """The outputs as this network's decoder gives them."""
        if self.config.decode in TOP_DOWN:
            return decode_crops(outputs, self.config, self.size)
        if self.config.decode in BOX_DECODES:
            return decode_boxes(outputs, self.config, self.size)
        return decode_people(outputs, self.config, self.size)

    def _run_once(self, session: Any, batch: np.ndarray) -> dict[str, np.ndarray]:
        values = session.run(self._outputs, {self._name: batch})
        return dict(zip(self._outputs, values, strict=True))

    def _run(self, batch: np.ndarray) -> Any:
        return self.decode(self._sessions.run(lambda session: self._run_once(session, batch)))

    def see(self, image: np.ndarray, placement: Placement) -> Any:
        """One picture's output, decoded."""
        drawn = placement.crop(image, self.size, self.config.fill)
        return self._run(tensor(drawn, self.config, self._dtype)[None])

    def see_crops(self, image: np.ndarray, placements: list[Placement]) -> np.ndarray:
        """Keypoints (B, K, 3) px of the input, of a top-down network, for each placement."""
        inputs = [
            tensor(p.crop(image, self.size, self.config.fill), self.config, self._dtype)
            for p in placements
        ]
        parts = range(0, len(inputs), self._largest)
        return np.concatenate([self._run(np.stack(inputs[i : i + self._largest])) for i in parts])


class OnnxPoseDetector:
    """Any of the forms of 2D pose model that `config` knows.

    Args:
        model: the .onnx file; its settings are in the .yaml beside it, or in the preset for files
            of its name.
        max_people: the best are reported.
        min_score: least score of a person: the model's, of a top-down one the keypoints' mean.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`.
        say: takes what happens to a GPU, a line each; by default stderr.

    Attributes:
        device, description: where it runs, see `Network`.

    Raises:
        DetectorError: the model or its settings are of no use here; the message says why.
    """

    def __init__(
        self,
        model: str | Path,
        max_people: int,
        min_score: float,
        device: str = "auto",
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        if not str(model):
            raise DetectorError("the detector 'onnx' needs a model: the path of a .onnx file")
        path = Path(model).expanduser()
        if not path.is_file():
            raise DetectorError(f"there is no model file {path}")
        config = load_config(path)
        assert config.layout is not None
        self.layout = config.layout
        self._max_people, self._min_score = max_people, min_score
        self.refused: Counter[Reason] = Counter()
        policy = DevicePolicy(device, DetectorError)
        self._pose = Network(path, config, policy, max_people, say, self.refused)
        self._finder: Network | None = None
        if config.boxes is not None and config.boxes.model is not None:
            self._finder = Network(config.boxes.model, config.boxes, policy, 1, say, self.refused)
        self._followed: list[np.ndarray] = []
        self._since = 0
        self._last_ns: int | None = None

    @property
    def device(self) -> str:
        return self._pose.device

    @property
    def description(self) -> str:
        if self._finder is not None:
            return f"{self._pose.description}, boxes of {self._finder.description}"
        whole = self._pose.config.decode in TOP_DOWN
        return self._pose.description + (", one person, looked for in the whole picture" * whole)

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        if 0 in image.shape:
            return []
        image = np.ascontiguousarray(image)
        config = self._pose.config
        if config.decode in TOP_DOWN:
            placements = self._placements(image, stamp_ns)
            if not placements:
                return []
            found = self._pose.see_crops(image, placements)
            scores = found[..., 2].clip(0.0, 1.0).mean(axis=-1)
        else:
            placement = letterbox(image.shape, self._pose.size, config.placement)
            found, scores = self._pose.see(image, placement)
            placements = [placement] * len(found)
        people = []
        for keypoints, score, placement in zip(found, scores, placements, strict=True):
            keypoints = np.array(keypoints, dtype=np.float64)
            keypoints[:, :2] = placement.to_image(keypoints[:, :2])
            keypoints[:, 2] = keypoints[:, 2].clip(0.0, 1.0)
            if score >= self._min_score and np.isfinite(keypoints).all():
                people.append(Pose2D(keypoints, float(min(max(score, 0.0), 1.0))))
        if config.decode in TOP_DOWN:
            # Two boxes may have come to lie on one person.
            people = without_duplicates(people)
        people = sorted(people, key=lambda person: -person.score)[: self._max_people]
        self._follow(people, stamp_ns)
        return people

    def close(self) -> None:
        # onnxruntime frees a session with its last reference.
        self._followed = []

    # --------------------------------------------------------------------------------- boxes

    def _placements(self, image: np.ndarray, stamp_ns: int) -> list[Placement]:
        """Of the crops that people are looked for in."""
        pose = self._pose
        if self._finder is None:
            if self._followed and self._is_near(stamp_ns):
                return [box_placement(self._followed[0], pose.size, pose.config.padding)]
            return [letterbox(image.shape, pose.size, "center")]
        return [
            box_placement(box, pose.size, pose.config.padding)
            for box in self._boxes(image, stamp_ns)
        ]

    def _boxes(self, image: np.ndarray, stamp_ns: int) -> list[np.ndarray]:
        """(4,) left, top, right, bottom, px: found, or where people were in the last image."""
        finder = self._finder
        assert finder is not None
        self._since += 1
        fresh = self._since < finder.config.detect_every
        if self._followed and fresh and self._is_near(stamp_ns):
            return self._followed
        self._since = 0
        placement = letterbox(image.shape, finder.size, finder.config.placement)
        boxes, _ = finder.see(image, placement)
        corners = placement.to_image(boxes.reshape(-1, 2, 2).astype(np.float64))
        limit = np.array(image.shape[1::-1]) - 1.0
        return list(corners.clip(0, limit).reshape(-1, 4)[: self._max_people])

    def _is_near(self, stamp_ns: int) -> bool:
        """Whether people are still about where they were in the last image."""
        return self._last_ns is not None and 0 <= stamp_ns - self._last_ns <= NOT_FOLLOWED_NS

    def _follow(self, people: list[Pose2D], stamp_ns: int) -> None:
        """Remember where people are."""
        self._last_ns, self._followed = stamp_ns, []
        # Without boxes, what is followed is looked at and nothing else, until it is lost.
        least = SURE if self._finder is None else 0.0
        for person in people:
            if person.score < least:
                continue
            if (person.keypoints[:, 2] >= SURE).sum() >= MIN_BOX_KEYPOINTS:
                box = keypoint_boxes(person.keypoints[None], SURE)[0]
                # The outline of head and feet reaches beyond their keypoints.
                margin = BOX_MARGIN * (box[2:] - box[:2]).max()
                self._followed.append(box + margin * np.array([-1, -1, 1, 1]))
