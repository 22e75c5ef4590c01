"""Drawing: a communication graph over the cluster that it runs on.

Owns the picture: the switch above, below it each server's card, host, sockets and GPUs, with links
coloured by how long a step keeps them busy; below the GPUs, as arcs, who exchanges with whom. Must
not know how loads are found.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dualrt.advice.loads import Load, loads, traffic
from dualrt.advice.setting import Setting, links_of
from dualrt.core.errors import UsageError
from dualrt.observe import units
from dualrt.observe.canvas import BLUE, FAINT, GREEN, INK, ORANGE, picture, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Bezier

    from dualrt.topology import Topology
    from dualrt.topology.weights import Sparse

MOST = 256
"""Learners that fit a page."""

SPINE, SWITCH, NIC, HOST, SOCKET, GPU = 6.1, 5.0, 3.9, 3.1, 2.0, 0.8
"""Heights of the rows."""

STYLE = f"""
body {{ font: 15px sans-serif; color: {INK}; margin: 1em }}
svg {{ width: 100%; height: auto }}
td, th {{ padding: 0.1em 1em; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
"""

FRAME = "#f4f6f8"
"""Behind a server."""

UNLIMITED = "#c8c8c8"
"""Of a line that only joins: what the card sends is read from memory, which is what limits it."""

GAP = 1.5
"""Between two servers, in GPUs."""


def draw_picture(path: Path, topology: Topology, setting: Setting) -> None:
    """Draw to a file whose suffix says SVG, PNG or PDF.

    Raises UsageError for more learners than fit a page, or a file that cannot be written.
    """
    learners = topology.schedule.learners
    if learners > MOST:
        raise UsageError(
            f"{topology.spec} has {learners} learners, and a page holds {MOST}. Draw a smaller "
            "one of its kind"
        )
    messages = traffic(topology.schedule)
    carried = loads(messages, setting)
    busiest = carried[0] if carried else None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axis("off")
        scene = _Scene(
            axes, setting, learners, carried, 0.8 * width / (_x(setting, learners - 1) + 2)
        )
        scene.hardware()
        scene.exchanges(messages)
        scene.scale(figure, "push" if topology.pushes else "exchange")

    width = min(24.0, max(9.0, 2.5 + 0.19 * _x(setting, learners - 1)))
    subtitle = f"{topology.mixing}  ·  {units.counted(learners, 'learner')} on {setting.name}"
    if busiest is not None:
        subtitle += f"  ·  busiest: {busiest.link}, {units.seconds(busiest.busy_s)} a step"
    picture(path, (width, 7.0), topology.spec, subtitle, draw)


def draw_html(path: Path, topology: Topology, setting: Setting) -> None:
    """One page that needs nothing else: the drawing, and every link's load in a table."""
    with TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawing.svg"
        draw_picture(drawn, topology, setting)
        text = drawn.read_text(encoding="utf-8")
    svg = text[text.index("<svg") :]
    rows = "\n".join(
        f"<tr><td>{escape(load.link)}</td><td>{units.size(load.bytes_per_step)}</td>"
        f"<td>{units.seconds(load.busy_s)}</td></tr>"
        for load in loads(traffic(topology.schedule), setting)
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(topology.spec)}</title>
<style>{STYLE}</style></head><body>
{svg}
<table><tr><th>link</th><th>a step carries</th><th>and is busy</th></tr>
{rows}
</table></body></html>
"""
    with writing(path):
        path.write_text(page, encoding="utf-8")


def _x(setting: Setting, learner: int) -> float:
    return learner + GAP * (learner // setting.cluster.gpus_per_server)


def _arc(left: float, right: float, top: float, depth: float) -> Bezier:
    """The lower half of an ellipse, as two curves."""
    from matplotlib.path import Path as Bezier

    middle, half, bottom = (left + right) / 2, (right - left) / 2, top - depth
    bend = 0.5523  # of a quarter of a circle
    return Bezier(
        [
            (left, top), (left, top - bend * depth), (middle - bend * half, bottom),
            (middle, bottom),
            (middle + bend * half, bottom), (right, top - bend * depth), (right, top),
        ],
        [Bezier.MOVETO, *[Bezier.CURVE4] * 6],
    )  # fmt: skip


class _Scene:
    """One drawing under way."""

    def __init__(
        self, axes: Axes, setting: Setting, learners: int, carried: list[Load], inches: float
    ) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import Normalize

        self.axes, self.setting, self.learners = axes, setting, learners
        self.top, self.inches = SWITCH, inches  # of a GPU's place on the page
        self.busy_s = {load.link: load.busy_s for load in carried}
        self.norm = Normalize(0.0, max(self.busy_s.values(), default=1.0))
        self.colours = colormaps["YlOrRd"]

    def hardware(self) -> None:
        """Servers from left to right, as learners fill them."""
        spec = self.setting.cluster
        used = -(-self.learners // spec.gpus_per_server)
        middles = []
        for server in range(used):
            first = server * spec.gpus_per_server
            last = min(first + spec.gpus_per_server, self.learners) - 1
            ends = _x(self.setting, first), _x(self.setting, last)
            middles.append(sum(ends) / 2)
            self._server(server, range(first, last + 1), middles[-1])
        if used > 1:
            self._switches(middles)

    def _switches(self, middles: list[float]) -> None:
        """One over all servers, or one over each rack's and the spine over them."""
        members = self.setting.cluster.servers_per_rack or len(middles)
        racks = [middles[first : first + members] for first in range(0, len(middles), members)]
        spine = (middles[0] + middles[-1]) / 2
        for number, rack in enumerate(racks):
            middle, width = (rack[0] + rack[-1]) / 2, rack[-1] - rack[0] + 1.2
            name = f"rack{number}"
            if len(racks) > 1:
                self._link((middle, SWITCH), (spine, SPINE), name)
            self._box(middle, SWITCH, width, name if len(racks) > 1 else "switch")
        if len(racks) > 1:
            self.top = SPINE
            self._box(spine, SPINE, max(2.4, (middles[-1] - middles[0]) / 3), "spine")

    def _server(self, server: int, learners: range, middle: float) -> None:
        spec, name = self.setting.cluster, f"server{server}"
        cluster = links_of(spec)
        width = _x(self.setting, learners[-1]) - _x(self.setting, learners[0]) + 1.1
        self._frame(middle, width)
        if self.learners > spec.gpus_per_server:
            self._link((middle, SWITCH), (middle, NIC), f"{name}.nic")
        self._link((middle, HOST), (middle, NIC), None)
        by_socket: dict[int, list[int]] = {}
        for learner in learners:
            by_socket.setdefault(cluster.socket_of(cluster.place(learner).gpu), []).append(learner)
        for socket, held in by_socket.items():
            x = sum(_x(self.setting, learner) for learner in held) / len(held)
            self._link((middle, HOST), (x, SOCKET), f"{name}.socket{socket}.pcie")
            for learner in held:
                gpu = cluster.place(learner).gpu
                link = f"{name}.gpu{gpu}.nvlink" if spec.nvlink_bytes_per_s else None
                self._link((x, SOCKET), (_x(self.setting, learner), GPU), link)
                self._gpu(learner)
            self._dot(x, SOCKET, "s", FAINT, 26)
        self._host(middle, width, f"{name}.memory")
        self._box(middle, NIC, min(2.4, width), "NIC")

    def _link(self, one: tuple[float, float], other: tuple[float, float], name: str | None) -> None:
        """Coloured by the busier of its directions; grey where nothing limits."""
        ends = (".out", ".in", ".up", ".down")
        busy_s = max((self.busy_s.get(f"{name}{end}", 0.0) for end in ends), default=0.0)
        x, y = zip(one, other, strict=True)
        if name is None:
            self.axes.plot(x, y, color=UNLIMITED, linewidth=0.8, zorder=1)
            return
        share = float(self.norm(busy_s))
        self.axes.plot(x, y, color="#777777", linewidth=3.2 + 3 * share, zorder=1)
        self.axes.plot(x, y, color=self._colour(busy_s), linewidth=2.2 + 3 * share, zorder=1.1)

    def exchanges(self, messages: Sparse) -> None:
        """Arcs under the GPUs: within a server, and between two; an arrow where one way only."""
        from matplotlib.collections import PathCollection

        pairs = messages.tocoo()
        ways = set(zip(pairs.row.tolist(), pairs.col.tolist(), strict=True))
        gpus = self.setting.cluster.gpus_per_server
        arcs, colours, lowest = [], [], 0.0
        for low, high in sorted({(min(way), max(way)) for way in ways}):
            colour = GREEN if low // gpus == high // gpus else BLUE
            left, right = _x(self.setting, low), _x(self.setting, high)
            depth = self._depth(right - left)
            lowest = min(lowest, GPU - depth)
            arcs.append(_arc(left, right, GPU - 0.12, depth))
            colours.append(colour)
            if (low, high) not in ways or (high, low) not in ways:
                marker = ">" if (low, high) in ways else "<"
                at = [(left + right) / 2], [GPU - 0.12 - depth]
                self.axes.scatter(*at, s=30, marker=marker, color=colour, zorder=0.6)
        alpha = 0.9 if pairs.nnz < 400 else 0.35
        self.axes.add_collection(
            PathCollection(
                arcs, facecolors="none", edgecolors=colours, linewidths=1.0, alpha=alpha, zorder=0.5
            )
        )
        self.axes.set_ylim(lowest - 0.3, self.top + 0.5)

    def _depth(self, width: float) -> float:
        """Deeper for longer arcs, but bounded by the page."""
        whole = max(1.0, _x(self.setting, self.learners - 1))
        return 0.25 + 3.6 * math.sqrt(width / whole)

    def scale(self, figure: Figure, arc: str) -> None:
        """What the colours mean; `arc` is what an arc stands for."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.lines import Line2D
        from matplotlib.ticker import FuncFormatter

        bar = figure.colorbar(
            ScalarMappable(self.norm, self.colours), ax=self.axes, fraction=0.02, pad=0.01
        )
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.seconds(value)))
        bar.set_label("a step keeps the link busy")
        handles = [
            Line2D([], [], color=GREEN, label=f"{arc} within a server"),
            Line2D([], [], color=BLUE, label=f"{arc} between servers"),
            Line2D([], [], color=UNLIMITED, linewidth=0.8, label="no limit of its own"),
        ]
        self.axes.legend(handles=handles, loc="upper right", bbox_to_anchor=(1.0, 0.0), ncols=3)

    def _colour(self, busy_s: float) -> Any:
        return self.colours(float(self.norm(busy_s)))

    def _frame(self, x: float, width: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, GPU - 0.35),
                width,
                NIC - GPU + 0.75,
                boxstyle="round,pad=0,rounding_size=0.3",
                facecolor=FRAME,
                edgecolor="#b8c0c8",
                zorder=0,
            )
        )

    def _host(self, x: float, width: float, memory: str) -> None:
        """The host, filled by what averaging does to its memory."""
        colour = self._colour(self.busy_s.get(memory, 0.0))
        self._box(x, HOST, min(4.2, width), "memory", colour)

    def _box(self, x: float, y: float, width: float, text: str, colour: Any = "#ffffff") -> None:
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Rectangle

        corner = (x - width / 2, y - 0.22)
        self.axes.add_patch(
            Rectangle(corner, width, 0.44, facecolor=colour, edgecolor=INK, linewidth=0.8, zorder=3)
        )
        if width * self.inches >= 0.07 * len(text):
            ink = INK if sum(to_rgb(colour)) > 1.2 else "#ffffff"
            self.axes.text(x, y, text, size=7, ha="center", va="center", zorder=4, color=ink)

    def _gpu(self, learner: int) -> None:
        x = _x(self.setting, learner)
        self._dot(x, GPU, "o", ORANGE, 46)
        if self.learners <= 64:
            self.axes.text(x, GPU + 0.22, str(learner), size=6, ha="center", color=INK, zorder=5,
                           bbox={"pad": 0.4, "facecolor": FRAME, "edgecolor": "none"})  # fmt: skip

    def _dot(self, x: float, y: float, marker: str, colour: str, size: float) -> None:
        self.axes.scatter([x], [y], s=size, marker=marker, color=colour, edgecolors=INK,
                          linewidths=0.6, zorder=4)  # fmt: skip
