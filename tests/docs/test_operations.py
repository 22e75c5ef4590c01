"""The page about operations names what the code tells."""

from __future__ import annotations

import ast
from pathlib import Path

from dualrt.observe.meter import Meter, Transport
from dualrt.observe.prometheus import Figures

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def events() -> set[str]:
    """The first words of all calls that tell an event."""
    found = set()
    for path in (ROOT / "dualrt" / "real").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case (
                    ast.Call(
                        func=ast.Attribute(attr="debug" | "info" | "warning"),
                        args=[ast.Constant(value=str(name)), _],
                    )
                    | ast.Call(func=ast.Name(id="tell"), args=[ast.Constant(value=str(name)), _])
                ):
                    found.add(name)
    return found


def test_every_metric_is_explained() -> None:
    meter = Meter(1, [0])
    meter.attach(lambda: Transport(0, {}))
    names = {family.name for family in Figures(meter, {}).collect()}
    assert len(names) > 10
    assert {name for name in names if f"`{name}" not in PAGE} == set()


def test_every_event_is_explained() -> None:
    assert {"begun", "peer_lost", "frames_dropped", "learner_died"} <= events()
    assert {name for name in events() if f"`{name}`" not in PAGE} == set()
