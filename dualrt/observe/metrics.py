"""Metrics: who watches a run from outside, and where.

Owns what `--metrics` may say, and the opening of what it names. Must not know how either shows
figures: `dualrt.observe.prometheus`, `dualrt.observe.tensorboard`. Their packages are an extra, and
loaded when a run is watched.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from dualrt.core.errors import UsageError, require
from dualrt.core.records import Observer
from dualrt.observe.meter import Meter

EXTRA = "metrics"
"""What brings the packages along."""

FORMS = "tensorboard:DIR or prometheus:HOST:PORT"


class Watched(NamedTuple):
    """What is watched, for labels and names."""

    algorithm: str
    rank: int | None
    """None for all learners of a simulation together."""
    local_rank: int
    """Rank among the processes of this host."""
    wall_s: Callable[[float], float]
    """What stands for the time of day, in seconds since 1970, at a time of the run's own."""
    least_s: float
    """No two points of a curve are closer, in the run's time."""


Complain: TypeAlias = Callable[[str], None]
"""Is told why figures are shown no more, while the run goes on."""


class Exporter(Protocol):
    """One who shows figures until it is closed."""

    @property
    def where(self) -> str:
        """For people: where they are to be seen."""

    @property
    def observer(self) -> Observer | None:
        """What the run's records are to be shown, after the meter; None if nothing."""

    def close(self) -> None:
        """Show the last, and give up files and ports."""


@dataclass(frozen=True, slots=True)
class TensorBoard:
    """Event files in a folder of their own below `folder`."""

    folder: Path

    def check(self, processes: int = 0) -> None:
        """Raise UsageError where it cannot be."""
        require("tensorboard", extra=EXTRA, purpose=f"--metrics {'tensorboard'}")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--metrics tensorboard:{self.folder} is no folder. Name another")

    def open(self, meter: Meter, watched: Watched, complain: Complain) -> Exporter:
        """Begin to write. Raises UsageError for a folder that cannot be written to."""
        from dualrt.observe.tensorboard import EventFiles

        return EventFiles(self.folder, meter, watched, complain)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A page to be scraped; each process of a host has the port after the last one's."""

    host: str
    port: int
    """Of the first process of a host; 0 for whatever is free."""

    def check(self, processes: int = 0) -> None:
        """Raise UsageError where it cannot be: for want of a port for each of so many processes."""
        require("prometheus_client", extra=EXTRA, purpose=f"--metrics {'prometheus'}")
        for place in range(processes):
            try:
                family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
                address = self.host, port_of(self.port, place)
                socket.create_server(address, family=family).close()
            except (OSError, OverflowError) as error:
                raise unavailable(self.host, self.port, place, error) from error

    def open(self, meter: Meter, watched: Watched, complain: Complain) -> Exporter:
        """Begin to serve. Raises UsageError for an address that cannot be had."""
        from dualrt.observe.prometheus import Page

        return Page(self.host, self.port, meter, watched)


Target: TypeAlias = TensorBoard | Prometheus
"""One who is to watch."""


def parse(text: str) -> Target:
    """What an option names. Raises UsageError for anything that is not one of `FORMS`."""
    kind, _, rest = text.partition(":")
    if kind == "tensorboard" and rest:
        return TensorBoard(Path(rest))
    host, colon, port = rest.rpartition(":")
    if kind == "prometheus" and colon and host and port.isdecimal() and int(port) < 65536:
        return Prometheus(host.removeprefix("[").removesuffix("]"), int(port))
    raise UsageError(f"--metrics {text}: that is none of what it may be. Write {FORMS}")


def port_of(first: int, place: int) -> int:
    """The port of a process, by its place among those of its host."""
    # 0 asks for any that is free.
    return first + place if first else 0


def unavailable(host: str, first: int, place: int, error: Exception) -> UsageError:
    """What to raise where a process cannot have its port."""
    return UsageError(
        f"--metrics prometheus:{host}:{first}: process {place} of this host needs port "
        f"{port_of(first, place)}, which is {first} and its place among them, and cannot have it "
        f"({error}). Name another port, with room for all of them, or an address of this host"
    )
