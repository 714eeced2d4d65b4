"""The control panel in the browser: buttons, switches, and tables of what arrives."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..geometry.transforms import Transform
from ..io.render.id_labels import id_labels
from ..io.render.palette import color_of
from ..types import Pose3D, TrackState
from .history import HISTORY_S, History

#: Height of a chart, px.
CHART_HEIGHT_PX = 110
#: Number of people in the table; more are counted.
MAX_ROWS = 12

#: Choices of `follow` that are no person.
NOBODY, EVERYONE = "nobody", "everyone"

#: Views: from the side, and from the camera, where people cover themselves in the image.
VIEWS = SIDE, FROM_CAMERA = ("from the side", "from the camera")

#: Colours of the levels of diagnostics.
_LEVEL_COLORS = {"OK": "#69db7c", "WARN": "#ffd43b", "ERROR": "#ff6b6b", "STALE": "#adb5bd"}


@dataclass
class Status:
    """One line of diagnostics.

    Attributes:
        name: of node and task.
        level: OK, WARN, ERROR or STALE.
        text: what the task says.
        values: pairs of key and value.
    """

    name: str
    level: str
    text: str
    values: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Actions:
    """What the buttons do; each is called from a thread of the server.

    Attributes:
        pause: with true to pause, with false to go on.
        record: begins or ends a recording; the browser that pressed the button is given.
        move_view: moves a browser's view, to one of `VIEWS`.
        switched: after a change of a switch.
    """

    pause: Callable[[bool], None]
    record: Callable[[Any], None]
    move_view: Callable[[Any, str], None]
    switched: Callable[[], None]


class Panel:
    """The control panel.

    Args:
        server: viser.ViserServer.
        actions: what its buttons do.

    Attributes:
        switches: checkboxes by name; `value` tells whether each is set.
    """

    def __init__(self, server: Any, actions: Actions) -> None:
        gui = server.gui
        self._gui, self._actions = gui, actions
        self.paused = False
        self._line = gui.add_html("")
        self._pause = gui.add_button("Pause", color="blue")
        self._pause.on_click(lambda event: self._toggle_pause())
        self._record = gui.add_button("Record", color="gray")
        self._record.on_click(lambda event: actions.record(event.client))
        self.follow = gui.add_dropdown("Follow", (NOBODY, EVERYONE), initial_value=NOBODY)
        view = gui.add_button_group("View", VIEWS)
        view.on_click(lambda event: actions.move_view(event.client, event.target.value))
        # On the screen of a phone the table of people would be out of sight.
        with gui.add_folder("Show", expand_by_default=False):
            self.switches = {
                "image": gui.add_checkbox("Image", True),
                "labels": gui.add_checkbox("Ids", True),
                "trails": gui.add_checkbox("Trails", True),
                "root_uncertainty": gui.add_checkbox("Uncertainty of positions", True),
                "joint_uncertainty": gui.add_checkbox("Uncertainty of joints", True),
            }
        for box in self.switches.values():
            box.on_update(lambda event: actions.switched())
        with gui.add_folder("People"):
            self._people = gui.add_html("")
        self._tables: dict[str, Any] = {}
        self._charts: list[Any] = []

    # ------------------------------------------------------------------ buttons

    def hide_record(self) -> None:
        """Remove the button: what is shown is a recording itself."""
        self._record.visible = False

    def _toggle_pause(self) -> None:
        self.set_paused(not self.paused)
        self._actions.pause(self.paused)

    def set_paused(self, paused: bool) -> None:
        """Show whether the scene stands still."""
        self.paused = paused
        self._pause.label = "Go on" if paused else "Pause"

    def set_recording(self, seconds: float | None) -> None:
        """Show how long the recording is, s; None while there is none."""
        if seconds is None:
            self._record.label, self._record.color = "Record", "gray"
        else:
            self._record.label = f"End the recording ({seconds:.0f} s)"
            self._record.color = "red"

    def tell(self, text: str) -> None:
        """Show a sentence in the first line; empty: no line."""
        content = f'<div style="padding:4px 12px;color:#ffd43b">{html.escape(text)}</div>'
        content = content if text else ""
        if self._line.content != content:
            self._line.content = content

    # ------------------------------------------------------------------ people

    def show_people(self, people: Sequence[Pose3D], camera: Transform | None) -> None:
        """Show the table of people, and offer them to follow.

        Args:
            people: of an image.
            camera: from the camera's optical frame to theirs; None where it is not known.
        """
        people = [person for person in people if person.state != TrackState.ENDED]
        labels = id_labels(person.track_id for person in people)
        options = (NOBODY, EVERYONE, *labels.values())
        if self.follow.value not in options:
            # A followed person may return.
            options = (*options, self.follow.value)
        if tuple(self.follow.options) != options:
            self.follow.options = options
        rows = []
        for person in people[:MAX_ROWS]:
            blue, green, red = color_of(person.track_id)
            dot = f'<span style="color:rgb({red},{green},{blue})">&#9679;</span>'
            distance = "&ndash;"
            if camera is not None and person.root_valid and np.isfinite(person.root).all():
                distance = f"{np.linalg.norm(person.root - camera.translation):.1f}"
                spread = np.sqrt(max(float(np.trace(person.root_covariance)), 0.0))
                if math.isfinite(spread):
                    distance += f" &plusmn; {spread:.1f}"
                distance += " m"
            state = person.state.name.lower().replace("_", " ")
            rows.append((f"{dot} {person.track_id}", state, distance))
        if len(people) > MAX_ROWS:
            rows.append((f"and {len(people) - MAX_ROWS} more", "", ""))
        if not any(person.root_valid for person in people) and people:
            rows.append(("no positions: camera_info is missing?", "", ""))
        self._people.content = _table(rows) if rows else _table([("nobody", "", "")])

    def followed(self, people: Sequence[Pose3D]) -> np.ndarray | None:
        """(3,) m, where the followed people are; None without any."""
        choice = self.follow.value
        if choice == NOBODY:
            return None
        placed = [p for p in people if p.root_valid and np.isfinite(p.root).all()]
        if choice != EVERYONE:
            labels = id_labels(p.track_id for p in people)
            placed = [p for p in placed if labels[p.track_id] == choice]
        if not placed:
            return None
        middle: np.ndarray = np.mean([p.root for p in placed], axis=0)
        return middle

    # ------------------------------------------------------------------ rates and diagnostics

    def show_rates(self, rows: Iterable[tuple[str, str]]) -> None:
        """Show rates and times as pairs of name and value."""
        self._set("Rates and latency", [(html.escape(a), html.escape(b)) for a, b in rows])

    def show_charts(self, history: History) -> None:
        """Show the last minute."""
        values = np.array(history.seconds, dtype=float).reshape(-1, 3)
        if len(values) < 2:
            return
        times = values[:, 0] - values[-1, 0]
        if not self._charts:
            from viser import uplot

            with self._gui.add_folder("Last minute"):
                for name, color in (("skeletons, Hz", "#4dabf7"), ("latency, ms", "#ffa94d")):
                    chart = self._gui.add_uplot(
                        (times, np.nan_to_num(values[:, 1 + len(self._charts)])),
                        (uplot.Series(label="s"), uplot.Series(label=name, stroke=color, width=2)),
                        title=name,
                        scales={"x": uplot.Scale(time=False, range=(-HISTORY_S, 0))},
                        legend=uplot.Legend(show=False),
                        height=CHART_HEIGHT_PX,
                    )
                    self._charts.append(chart)
            return
        for column, chart in enumerate(self._charts, start=1):
            chart.data = (times, np.nan_to_num(values[:, column]))

    def show_diagnostics(self, statuses: Sequence[Status]) -> None:
        """Show the newest status of each task."""
        rows = []
        for status in statuses:
            color = _LEVEL_COLORS.get(status.level, "#adb5bd")
            values = html.escape("; ".join(f"{key} {value}" for key, value in status.values))
            rows.append(
                (
                    f'<span title="{values}"><b style="color:{color}">{html.escape(status.level)}'
                    f"</b> {html.escape(status.name)}<br>"
                    f'<span style="opacity:.75">{html.escape(status.text)}</span></span>',
                )
            )
        self._set("Diagnostics", rows)

    def _set(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Show a table in a folder of its own, which is made with its first row."""
        if not rows:
            return
        if title not in self._tables:
            with self._gui.add_folder(title):
                self._tables[title] = self._gui.add_html("")
        self._tables[title].content = _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    cell = '<td style="padding:1px 8px 1px 0;vertical-align:top;overflow-wrap:anywhere">'
    lines = ("".join(f"{cell}{text}</td>" for text in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="margin:2px 12px;font-size:12px;border-spacing:0">{body}</table>'
