"""A machine whose clocks advance by the work that is done on it: live runs without timing."""

from collections.abc import Callable, Iterator

from emf_ros.detect.blazepose import BlazePoseDetector
from emf_ros.detect.blazepose.networks import DETECTION_NETWORK, LANDMARK_NETWORK
from emf_ros.detect.budget import DetectionBudget

#: CPU time of an inference, s, on two cores at 2.8 GHz.
INFERENCE_S = {DETECTION_NETWORK: 0.009, LANDMARK_NETWORK: 0.010}
#: CPU time of everything else that is done with an image, s.
OVERHEAD_S = 0.004


class Machine:
    """The clocks of one thread.

    Args:
        load: time of work by the clock over its CPU time; more than 1 while others want the cores.
    """

    def __init__(self, load: float = 1.0) -> None:
        self.load, self.now_s, self.cpu_s = load, 0.0, 0.0

    def budget(self) -> DetectionBudget:
        """A budget that reads these clocks."""
        return DetectionBudget(wall=lambda: self.now_s, cpu=lambda: self.cpu_s)

    def work(self, cpu_s: float) -> None:
        """Work for this CPU time."""
        self.now_s += self.load * cpu_s
        self.cpu_s += cpu_s

    def images(self, rate_hz: float, seconds: float) -> Iterator[int]:
        """Numbers of the images that a live program takes: always the newest of a camera."""
        end_s, index = self.now_s + seconds, -1
        while self.now_s < end_s:
            newest = int(self.now_s * rate_hz + 1e-6)
            if newest == index:
                self.now_s = (index + 1) / rate_hz
                continue
            index = newest
            yield index

    def runs(
        self, detector: BlazePoseDetector, note: Callable[[int], None] = lambda network: None
    ) -> None:
        """Let the inferences of a detector take their time on this machine.

        Args:
            note: takes the network of each inference.
        """
        run = detector._networks.run
        # The real clocks of the passes do not count.
        detector._networks._budget = None

        def on_machine(jobs):
            for job in jobs:
                for _ in job.rois:
                    note(job.network)
                    self.work(INFERENCE_S[job.network])
            return run(jobs)

        detector._networks.run = on_machine
