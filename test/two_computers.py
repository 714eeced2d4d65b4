"""A camera's computer and a robot's, joined by a cable that is cut and mended.

Run as `unshare -rn python two_computers.py FILE`: in a network namespace of its own, in which it
may make another one. FILE has recorded keypoints in JSON. This namespace is the robot's, with the
lifter and a listener. The other one is the camera's, with a publisher of keypoints and camera_info.
The program ends with 0 where the lifter notices both, the cut and the mend.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ros_session import Diagnostics, NodeProcess, Ros, stamp_ns, wait_for

#: Time after which DDS gives up a computer that is silent, s: far below the 20 s of its default.
LEASE_S = 4
#: Rate of the keypoints, Hz.
RATE_HZ = 10.0
#: What the camera prints when it has no subscriber any more.
ALONE = b"alone\n"

#: Settings of DDS: shared memory would go past the cable.
PROFILE = f"""<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com">
  <transport_descriptors>
    <transport_descriptor><transport_id>udp</transport_id><type>UDPv4</type></transport_descriptor>
  </transport_descriptors>
  <participant profile_name="cable" is_default_profile="true"><rtps>
    <userTransports><transport_id>udp</transport_id></userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
    <builtin><discovery_config>
      <leaseDuration><sec>{LEASE_S}</sec></leaseDuration>
      <leaseAnnouncement><sec>1</sec></leaseAnnouncement>
    </discovery_config></builtin>
  </rtps></participant>
</profiles>
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def inside(pid: int) -> tuple[str, ...]:
    """The beginning of a command that runs in the network namespace of a process."""
    return ("nsenter", "-t", str(pid), "-n")


class Cable:
    """The camera's computer, and the cable to it.

    Args:
        command: of the process on the camera's computer; it starts when the cable is there.
    """

    def __init__(self, command: list[str]) -> None:
        waiting = ["unshare", "-n", "sh", "-c", 'read go && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._far = inside(self.process.pid)
        here, far = "/proc/self/ns/net", f"/proc/{self.process.pid}/ns/net"
        wait_for(lambda: os.readlink(far) != os.readlink(here), "the camera's own network")
        peer = ["peer", "name", "camera", "netns", str(self.process.pid)]
        run("ip", "link", "add", "robot", "type", "veth", *peer)
        ends = ((), "robot", "10.77.0.1/24"), (self._far, "camera", "10.77.0.2/24")
        for place, name, address in ends:
            run(*place, "ip", "link", "set", "lo", "up")
            run(*place, "ip", "address", "add", address, "dev", name)
            run(*place, "ip", "link", "set", name, "up")
        # DDS uses the links that are up when it starts. The kernel says so up to a second later.
        for place, name, _ in ends:
            show = [*place, "ip", "link", "show", name]
            wait_for(lambda show=show: b"state UP" in subprocess.check_output(show), f"link {name}")
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def wait_until_alone(self) -> None:
        """Wait until the camera has forgotten its subscribers."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == ALONE, "the camera has ended"

    def cut(self) -> None:
        run(*self._far, "ip", "link", "set", "camera", "down")

    def mend(self) -> None:
        run(*self._far, "ip", "link", "set", "camera", "up")


def camera(recorded: list) -> None:
    """Publish keypoints and camera_info until the robot's process ends.

    Args:
        recorded: per frame, per person (id, 33 keypoints x, y, score, score).
    """
    import rclpy
    from inputs import camera_info_message
    from lifter_process import recorded_message
    from sensor_msgs.msg import CameraInfo

    from emf_ros_msgs.msg import Skeleton2DArray

    rclpy.init()
    node = rclpy.create_node("camera", namespace="/cable")
    keypoints = node.create_publisher(Skeleton2DArray, "keypoints", 5)
    infos = node.create_publisher(CameraInfo, "camera_info", 5)
    info = camera_info_message()
    was_alone = True
    for index in itertools.count():
        infos.publish(info)
        keypoints.publish(recorded_message(recorded, index, (1, 2), time.time_ns()))
        alone = keypoints.get_subscription_count() == 0
        if alone and not was_alone:
            os.write(sys.stdout.fileno(), ALONE)
        was_alone = alone
        # The pipe closes with the robot's process, however that ends.
        if select.select([sys.stdin], [], [], 1 / RATE_HZ)[0]:
            return


def robot(file: str) -> None:
    """Check what the lifter says while the cable is cut, and when it is mended."""
    from diagnostic_msgs.msg import DiagnosticArray

    from emf_ros_msgs.msg import Skeleton3DArray

    cable = Cable([sys.executable, __file__, file, "camera"])
    ros = Ros()
    lifter = NodeProcess("skeleton_lifter", namespace="/cable", device="cpu", threads=1)
    try:
        skeletons = ros.listen(Skeleton3DArray, "/cable/skeletons")
        said = Diagnostics(ros.listen(DiagnosticArray, "/diagnostics"), "/cable/skeleton_lifter")

        def has_people(message: Any) -> bool:
            return any(s.root_valid for s in message.skeletons)

        def wait_for_people() -> None:
            after = time.time_ns()
            wait_for(
                lambda: any(
                    has_people(m) and stamp_ns(m) > after for m in list(skeletons.messages)
                ),
                "people of new images",
            )

        wait_for_people()
        cable.cut()
        last = len(skeletons)
        wait_for(
            lambda: any(
                not m.images_arrive and not has_people(m) for m in skeletons.messages[last:]
            ),
            "a message that no images arrive",
        )

        def ended() -> set[int]:
            people = (s for m in list(skeletons.messages) for s in m.skeletons)
            return {s.track_id for s in people if s.tracking_state == s.ENDED}

        wait_for(lambda: ended() >= {1, 2}, "the end of both people")
        wait_for(lambda: said.level("keypoints") == b"\3", "no keypoints arrive")
        wait_for(
            lambda: ros.node.count_publishers("/cable/keypoints") == 0, "DDS forgets the camera"
        )
        cable.wait_until_alone()
        cable.mend()
        wait_for_people()
        wait_for(lambda: said.level("keypoints") == b"\0", "all is well again")
        assert not any("publishers on" in summary.message for _, summary in said.all)
        assert lifter.alive and "Traceback" not in lifter.log, lifter.log
    finally:
        cable.process.kill()
        lifter.kill()
        ros.close()


def main() -> int:
    file, *role = sys.argv[1:]
    if role:
        camera(json.loads(Path(file).read_text()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.xml"
        profile.write_text(PROFILE)
        os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
        os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
        robot(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
