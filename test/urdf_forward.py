"""Forward kinematics of a URDF, read from its text: where links are for positions of joints.

It knows nothing of how emf_ros makes the text. As robot_state_publisher does, it moves the links
whose joints have a position, and gives no place to what hangs on the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np


def axis_turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """(3, 3) turn about an axis, by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * (k @ k)


def _vector(text: str | None) -> np.ndarray:
    return np.array([float(part) for part in (text or "0 0 0").split()])


def _fixed_turn(rpy: np.ndarray) -> np.ndarray:
    """Fixed axes: about x, then y, then z."""
    x, y, z = np.eye(3)
    return axis_turn(z, rpy[2]) @ axis_turn(y, rpy[1]) @ axis_turn(x, rpy[0])


class Urdf:
    """A URDF.

    Attributes:
        root: name of the only link without a parent.
        limits: (low, high) rad or m of each joint that has an own position, by its name.
    """

    def __init__(self, text: str) -> None:
        robot = ElementTree.fromstring(text)
        links = [link.attrib["name"] for link in robot.findall("link")]
        self._joints = robot.findall("joint")
        names = [joint.attrib["name"] for joint in self._joints]
        assert len(set(links)) == len(links) and len(set(names)) == len(names)
        children = [joint.find("child").attrib["link"] for joint in self._joints]
        (self.root,) = set(links) - set(children)
        assert sorted([*children, self.root]) == sorted(links), "each link has one parent"
        self.limits = {
            joint.attrib["name"]: (
                float(joint.find("limit").attrib["lower"]),
                float(joint.find("limit").attrib["upper"]),
            )
            for joint in self._joints
            if joint.attrib["type"] != "fixed" and joint.find("mimic") is None
        }

    def forward(
        self,
        positions: Mapping[str, float],
        place: np.ndarray | None = None,
        turn: np.ndarray | None = None,
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Place (3,) and rotation (3, 3) of each link that has one.

        Args:
            positions: rad or m, by the names of joints.
            place, turn: of the root.
        """
        here = np.zeros(3) if place is None else place
        found = {self.root: (here, np.eye(3) if turn is None else turn)}
        waiting = list(self._joints)
        while True:
            left = []
            for joint in waiting:
                parent = joint.find("parent").attrib["link"]
                if parent not in found:
                    left.append(joint)
                    continue
                angle = self._angle(joint, positions)
                if angle is None:
                    continue
                at, rotation = found[parent]
                origin = joint.find("origin").attrib
                at = at + rotation @ _vector(origin.get("xyz"))
                rotation = rotation @ _fixed_turn(_vector(origin.get("rpy")))
                if joint.attrib["type"] != "fixed":
                    axis = _vector(joint.find("axis").attrib["xyz"])
                    if joint.attrib["type"] == "prismatic":
                        at = at + rotation @ (angle * axis)
                    else:
                        rotation = rotation @ axis_turn(axis, angle)
                found[joint.find("child").attrib["link"]] = at, rotation
            if len(left) == len(waiting):
                return found
            waiting = left

    @staticmethod
    def _angle(joint: ElementTree.Element, positions: Mapping[str, float]) -> float | None:
        if joint.attrib["type"] == "fixed":
            return 0.0
        mimic = joint.find("mimic")
        if mimic is None:
            return positions.get(joint.attrib["name"])
        angle = positions.get(mimic.attrib["joint"])
        return None if angle is None else angle * float(mimic.attrib.get("multiplier", 1))
