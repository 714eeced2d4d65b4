"""Headless Chromium with software rendering, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ros_session import wait_for
from websockets.sync.client import connect

#: Names under which systems install it.
NAMES = ("chromium", "chromium-browser", "google-chrome")

#: Time limit of an answer, s: a picture of the page takes seconds without a GPU.
ANSWER_S = 120.0


def find_chromium() -> str:
    """The program.

    Raises:
        FileNotFoundError: it is not installed.
    """
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "the browser tests did NOT run: Chromium is not installed "
        "(Debian: sudo apt install chromium)"
    )


class Page:
    """A page in a browser of its own.

    Args:
        address: to open.
        size: (width, height) of the page, px.
    """

    def __init__(self, address: str, size: tuple[int, int]) -> None:
        self._folder = tempfile.TemporaryDirectory(
            prefix="emf_ros_chromium_", ignore_cleanup_errors=True
        )
        self.downloads = Path(self._folder.name) / "downloads"
        command = [find_chromium(), "--headless=new", "--remote-debugging-port=0"]
        command += ["--no-sandbox", "--no-first-run", "--hide-scrollbars", "--mute-audio"]
        command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        # It asks no other computer.
        command += ["--disable-background-networking", "--disable-component-update"]
        command += ["--disable-sync", "--disable-quic", f"--window-size={size[0]},{size[1]}"]
        command += ["--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
        command += ["--disable-backgrounding-occluded-windows"]
        command += [f"--user-data-dir={self._folder.name}/profile", "about:blank"]
        self._log = open(f"{self._folder.name}/log", "wb")  # noqa: SIM115 - closed with the page
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self._sent, self._session = 0, ""
        log = Path(self._log.name)
        pattern = r"DevTools listening on (ws://\S+)"
        found = wait_for(lambda: re.search(pattern, log.read_text("utf-8", "replace")), "Chromium")
        self._socket = connect(found[1], max_size=None, compression=None)
        # The page that the browser begins with: no other is in front of it.
        pages = wait_for(
            lambda: [
                target["targetId"]
                for target in self._ask("Target.getTargets")["targetInfos"]
                if target["type"] == "page"
            ],
            "the first page",
        )
        attached = self._ask("Target.attachToTarget", flatten=True, targetId=pages[0])
        self._session = attached["sessionId"]
        self._ask("Page.enable")
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        self._ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self._ask("Page.navigate", url=address)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def evaluate(self, script: str) -> Any:
        """The value of an expression of the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, text: str) -> None:
        """Click the middle of the element with this text, or the box beside it, as a mouse."""
        find = (
            "(() => { const all = [...document.querySelectorAll('button, label, span, div')]"
            f".filter(e => e.innerText && e.innerText.trim() === {json.dumps(text)});"
            "const e = all[all.length - 1]; if (!e) return null;"
            "const button = e.closest('button');"
            "const row = button || e.parentElement.parentElement;"
            "const box = button || row.querySelector('input') || e;"
            "const r = box.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        x, y = wait_for(lambda: self.evaluate(find), f"{text} on the page")
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        data = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return image

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_S))
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return dict(answer["result"])
