"""What a browser receives from the viewer, over a real websocket, and what its controls send."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import numpy as np
import viser
import zstandard
from ros_session import TIMEOUT_S, wait_for
from viser import _messages
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class Browser:
    """A connection to the viewer, which keeps what the scene and the panel hold.

    Args:
        port: of the viewer on this machine.

    Attributes:
        nodes: properties by name of the node in the scene; removed nodes are absent.
        positions: all positions by name of the node, oldest first, m.
        gui: properties by id of the control.
        files: downloaded files by name.
    """

    def __init__(self, port: int) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.positions: dict[str, list[Any]] = {}
        self.gui: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self._names: dict[str, str] = {}
        # Held while a packet is taken: what the server changes at once comes in one.
        self._taking = threading.Lock()
        self._socket = connect(
            f"ws://127.0.0.1:{port}",
            subprotocols=[f"viser-v{viser.__version__}"],
            compression=None,
            max_size=None,
            open_timeout=TIMEOUT_S,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        # The server counts a browser from its first view on.
        view = _messages.ViewerCameraMessage(
            (1.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, -3.0),
            1.0,
            0.01,
            1000.0,
            600,
            800,
            (0.0, 0.0, 0.0),
            (0.0, -1.0, 0.0),
        )
        self._send(view)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(timeout=10.0)

    def drop(self) -> None:
        """Break the connection without a word, as a browser that is killed."""
        self._socket.socket.shutdown(2)
        self._thread.join(timeout=10.0)

    # ------------------------------------------------------------------ what comes

    def instances(self, name: str) -> np.ndarray:
        """(N, 3) m, positions of the visible instances of a node; none before it exists."""
        with self._taking:
            node = self.nodes.get(f"/people/{name}")
            if node is None:
                return np.zeros((0, 3))
            return node["batched_positions"].reshape(-1, 3)[node["batched_opacities"] > 0]

    def property_of(self, name: str, key: str) -> Any:
        """A property of a node; None before it is known."""
        return self.nodes.get(name, {}).get(key)

    def labels(self) -> set[str]:
        return {
            node["text"] for name, node in dict(self.nodes).items() if name.startswith("/labels/")
        }

    def control(self, label: str) -> str:
        """The id of a control by its label."""

        def found() -> list[str]:
            return [key for key, props in list(self.gui.items()) if props.get("label") == label]

        return wait_for(found, f"the control {label}")[0]

    def label(self, beginning: str) -> str:
        """The label of a control that begins so; empty where there is none."""
        labels = [str(props.get("label")) for props in list(self.gui.values())]
        return next((label for label in labels if label.startswith(beginning)), "")

    @property
    def texts(self) -> str:
        """All texts of the panel."""
        return " ".join(str(props.get("content", "")) for props in list(self.gui.values()))

    # ------------------------------------------------------------------ what is pressed

    def press(self, label: str) -> None:
        self.press_control(self.control(label))

    def press_control(self, control: str) -> None:
        """Press a button by its id, which stays when its label changes."""
        self._send(_messages.GuiUpdateMessage(control, {"value": True}))

    def set(self, label: str, value: Any) -> None:
        self._send(_messages.GuiUpdateMessage(self.control(label), {"value": value}))

    # ------------------------------------------------------------------ the wire

    def _send(self, message: Any) -> None:
        self._socket.send(msgspec.msgpack.encode(message.as_serializable_dict()))

    def _read(self) -> None:
        try:
            for data in self._socket:
                assert isinstance(data, bytes)
                with self._taking:
                    for message in _decoded(data):
                        self._take(message)
        except (ConnectionClosed, OSError):
            pass

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "SceneNodeUpdateMessage":
            self.nodes.setdefault(message["name"], {}).update(message["updates"])
        elif kind == "RemoveSceneNodeMessage":
            self.nodes.pop(message["name"], None)
        elif kind == "GuiUpdateMessage":
            self.gui.setdefault(message["uuid"], {}).update(message["updates"])
        elif kind == "SetPositionMessage":
            self.nodes.setdefault(message["name"], {})["position"] = message["position"]
            self.positions.setdefault(message["name"], []).append(message["position"])
        elif kind == "SetOrientationMessage":
            self.nodes.setdefault(message["name"], {})["wxyz"] = message["wxyz"]
        elif kind == "SetSceneNodeVisibilityMessage":
            self.nodes.setdefault(message["name"], {})["visible"] = message["visible"]
        elif kind == "FileTransferStartDownload":
            self._names[message["transfer_uuid"]] = message["filename"]
            self.files[message["filename"]] = b""
        elif kind == "FileTransferPart":
            self.files[self._names[message["transfer_uuid"]]] += bytes(message["content"])
        elif "props" in message and "uuid" in message:
            self.gui[message["uuid"]] = dict(message["props"])
        elif "props" in message and "name" in message:
            self.nodes[message["name"]] = dict(message["props"])


def _decoded(data: bytes) -> list[dict[str, Any]]:
    """The messages in one packet; arrays are flat numpy arrays."""
    compressed = int.from_bytes(data[8:16], "little")
    content = msgspec.msgpack.decode(
        zstandard.ZstdDecompressor().decompress(data[16 : 16 + compressed])
    )
    at, buffers = 16 + compressed, []
    for length in content["binaryBufferLengths"]:
        at += -at % 8
        buffers.append(data[at : at + length])
        at += length

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            if "__binary_index" in value:
                return np.frombuffer(buffers[value["__binary_index"]], value["dtype"])
            return {key: filled(own) for key, own in value.items()}
        return [filled(own) for own in value] if isinstance(value, list) else value

    return [filled(message) for message in content["messages"]]
