"""The web server of the viewer: its address, and the browsers that are connected."""

from __future__ import annotations

import contextlib
import io
import socket
from typing import Any

#: Addresses of this machine that others do not reach.
LOOPBACK = "127.0.0.1"

#: Number of ports that are tried, from the wanted one on.
PORTS_TRIED = 20


class ViewerError(RuntimeError):
    """The viewer cannot start. The message says the cause and the remedy."""


def open_server(host: str, port: int, label: str) -> Any:
    """Open a viser server.

    Args:
        host: address to listen on; `LOOPBACK` for this machine only.
        port: the first to try; 0 for any free one.
        label: title of the control panel.

    Returns:
        viser.ViserServer.

    Raises:
        ViewerError: viser is missing, or no port is free.
    """
    try:
        import viser
    except ImportError as error:
        raise ViewerError(
            f"the viewer needs the package viser ({error}): pip install 'viser>=1.1,<2'"
        ) from None

    class Server(viser.ViserServer):
        """A server that never makes its scene public."""

        def request_share_url(self, verbose: bool = True) -> None:
            """Refuse: a tunnel over the internet would show the camera's images to others."""

    free = _free_port(host, port)
    # viser prints a panel with its address.
    with contextlib.redirect_stdout(io.StringIO()):
        server = Server(host=host, port=free, label=label, verbose=False)
    server.gui.configure_theme(
        dark_mode=True, show_logo=False, show_share_button=False, control_width="medium"
    )
    return server


def close_server(server: Any) -> None:
    """Disconnect the browsers, and free the port."""
    # viser prints that it has stopped.
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def _free_port(host: str, port: int) -> int:
    """The first port that can be listened on.

    Raises:
        ViewerError: there is none, or the address is not of this machine.
    """
    reason = ""
    last = min(port + PORTS_TRIED - 1, 65535) if port else 0
    for tried in range(port, last + 1):
        try:
            found = socket.getaddrinfo(host, tried, type=socket.SOCK_STREAM)[0]
            with socket.socket(found[0], socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(found[4])
                return int(probe.getsockname()[1])
        except socket.gaierror as error:
            raise ViewerError(f"no such address: {host} ({error.strerror})") from None
        except OSError as error:
            reason = error.strerror or str(error)
    raise ViewerError(
        f"the viewer cannot listen on {host}, ports {port} to {last}: {reason}; give another port"
    )


def address_of(server: Any) -> str:
    """The address to open in a browser."""
    host = server.get_host()
    if host in ("0.0.0.0", "::", ""):
        # All addresses of the machine: its name is one that other machines know.
        host = socket.gethostname()
    return f"http://{host}:{server.get_port()}"
