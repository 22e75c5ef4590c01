"""Summary: one run in a page of figures; what `--json` prints and what scripts compare.

Owns the definitions of the figures and their JSON names. Must not know which driver ran: a
simulated and a real run are summed up by the same arithmetic on the same records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from dualrt.core.errors import UsageError
from dualrt.observe.steady import Steadiness
from dualrt.observe.tally import Tally

Mode = Literal["simulated", "real"]


@dataclass(frozen=True, slots=True)
class Steady:
    """What came of a run that was to stop as soon as its rate is known."""

    extrapolated: bool
    """Whether it did; false: the run ended before, and all its figures are of the whole."""
    ci_percent: float | None
    """Half of the 95 % confidence interval of the rate, and so of `hours_total`, in per cent."""


@dataclass(frozen=True, slots=True)
class StalenessFigures:
    """`Update.staleness` over all updates; percentiles are values that occurred."""

    mean: float | None
    p50: int | None
    p99: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class Digests:
    """Hashes that tell whether two runs were the same; None where one was not taken."""

    timing: str | None
    numerics: str | None


@dataclass(frozen=True, slots=True)
class FittedKey:
    """A setting of the simulated cluster that was fitted to measurements, and still stands."""

    key: str
    """Dotted, as in a scenario."""
    value: float
    calibration: str
    points: tuple[str, ...]
    """The measured points that it was fitted to."""
    rms_error: float | None = None
    """How far the calibration was off at its points: rms of log(simulated / measured)."""


@dataclass(frozen=True, slots=True)
class RoomFigures:
    """The memory of a simulated device, and what is to be in it."""

    least_bytes: int
    """Of weights, gradient and optimizer state, in the type of the weights; activations, and what
    averaging keeps, come on top."""
    device_bytes: float

    @property
    def fits(self) -> bool:
        """Whether the least does."""
        return self.least_bytes <= self.device_bytes


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """What faults did to a run; stragglers are not counted."""

    crashes: int
    returns: int
    """Of learners that had crashed."""
    down_at_the_end: tuple[int, ...]
    """Ranks that had crashed and not come back."""
    messages_lost: int | None
    """None, as of the others, in a real run, which cannot know."""
    messages_duplicated: int | None
    messages_delayed: int | None
    messages_reordered: int | None
    waits_given_up: int | None
    """Awaits of a lost learner's message that ended without one."""
    exchanges_abandoned: int
    """Of which one side may have averaged alone."""
    updates_uncounted: int | None = 0
    """Updates by learners that have died which are known to have been made, and which are in no
    figure: of a real run, whose dead leave the records that they had written, if any. None where
    the run went on from a checkpoint, and so nobody knows."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run. Its fields are the keys of its JSON; None is null, for unknown."""

    title: str
    mode: Mode
    algorithm: str
    learners: int
    batch: int
    """Samples of a mini-batch."""
    samples_per_epoch: int
    epochs_total: float
    """Passes over the pool that the whole experiment takes, of which this run may be a part."""
    extrapolated: bool
    """Whether the run stopped before `epochs_total`, so that the figures of the whole experiment
    (`hours_total`, `bytes_total`) are projections. All counts are of the run itself."""
    steady: Steady | None
    """The key is absent where a steady rate was not asked for."""
    elapsed_s: float
    """Length of the run in its own time: a simulated one's, until the last learner had ended, is
    virtual; a real one's ends with its last record."""
    wall_s: float
    """What it took the computer that ran it."""
    steps: int
    """Mini-batches by all learners."""
    steps_by_learner: tuple[int, ...]
    updates: int
    samples: int
    """Samples of all updates."""
    seconds_per_iteration: float | None
    """Time in which every learner does one mini-batch on average: elapsed * learners / steps."""
    hours_per_epoch: float | None
    hours_total: float | None
    speedup_over_one: float | None
    """How much longer one undisturbed device would take for the same mini-batches."""
    learner_steps_per_s: float | None
    """Mini-batches a second of `wall_s`."""
    wait_fraction: float | None
    """Share of the devices' time in which they computed neither a gradient nor an update."""
    bytes_sent: int
    bytes_total: float | None
    """In proportion, what the whole experiment sends."""
    busiest_links: tuple[tuple[str, float], ...]
    """(name, mean utilisation from 0 to 1), busiest first."""
    staleness: StalenessFigures
    missed_mean: float | None
    consensus_distance: float | None
    conservation_error: float | None
    """How far the learners' sum is from what the gradients alone explain."""
    loss: float | None
    """Held-out loss of the delivered model."""
    accuracy: float | None
    """Held-out accuracy from 0 to 1; the key is absent where there is none."""
    train_loss: float | None
    """Mean over the last twentieth of the mini-batches."""
    digest: Digests
    servers: int | None = None
    """Servers that have a learner; None, as the next two, of a real run."""
    server_hours_total: float | None = None
    """Hours of the whole experiment, of all these servers together."""
    cost_total: float | None = None
    """The same by the price of a server's hour; None where none is given."""
    fitted: tuple[FittedKey, ...] = ()
    """What of the simulated cluster is no description, but was fitted."""
    faults: FaultFigures | None = None
    """The key is absent where nothing went wrong on purpose."""
    memory: RoomFigures | None = None
    """The key is absent where the memory of the simulated device is not known."""

    def to_json(self) -> str:
        """One JSON object on one line, with no NaN or infinity in it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        for key in _OPTIONAL:
            if plain[key] is None:
                del plain[key]
        return msgspec.json.encode(plain).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Summary:
        """The inverse; raises UsageError for anything else."""
        try:
            plain = msgspec.json.decode(text)
            if isinstance(plain, dict):
                plain = {**dict.fromkeys(_OPTIONAL), **plain}
            return msgspec.convert(plain, cls)
        except msgspec.DecodeError as error:
            raise UsageError(
                f"this is not the summary of a run: {error}. "
                "Give the JSON object that a run printed or wrote"
            ) from error


def summarise(
    tally: Tally,
    *,
    title: str,
    mode: Mode,
    algorithm: str,
    batch: int,
    samples_per_epoch: int,
    epochs_total: float,
    wall_s: float,
    elapsed_s: float | None = None,
    extrapolated: bool = False,
    steadiness: Steadiness | None = None,
    gradient_s: float | None = None,
    evaluation: Mapping[str, float] | None = None,
    consensus_distance: float | None = None,
    conservation_error: float | None = None,
    timing_digest: str | None = None,
    numerics_digest: str | None = None,
    links: Sequence[tuple[str, float]] = (),
    servers: int | None = None,
    price_per_server_hour: float | None = None,
    fitted: Sequence[FittedKey] = (),
    faults: FaultFigures | None = None,
    memory: RoomFigures | None = None,
) -> Summary:
    """Sum a run up.

    `elapsed_s` is the run's length, by default until its last record ended: some may listen for
    longer, and what they hear then is no part of it. `steadiness` is the observer that was to stop
    the run, if there was one: if it did, the hours, the speed-up and the time of an iteration
    follow from its rate. `gradient_s` is what one mini-batch takes on one undisturbed device,
    `evaluation` holds the held-out "loss" and "accuracy" as far as there are any, `links` (name,
    utilisation) pairs, `servers` those that are paid for, `faults` what went wrong on purpose, None
    where nothing was to, and `memory` what has to fit a device.

    A figure that is not finite, such as the loss of a run that diverged, becomes None.
    """
    elapsed_s = tally.last_s if elapsed_s is None else elapsed_s
    steps, learners = tally.steps, tally.learners
    epochs = tally.samples / samples_per_epoch
    whole = _ratio(epochs_total, epochs)
    paced_s, batches = elapsed_s, float(steps)
    hours_per_epoch = _ratio(elapsed_s / 3600, epochs)
    steady = None
    if steadiness is not None:
        rate = steadiness.rate
        steady = Steady(steadiness.reached, None if rate is None else rate.ci_percent)
        if rate is not None and steadiness.reached and whole is not None:
            paced_s = rate.whole_s(tally.updates * whole)
            batches = epochs_total * samples_per_epoch / batch
            hours_per_epoch = paced_s / 3600 / epochs_total
    hours_total = None if hours_per_epoch is None else hours_per_epoch * epochs_total
    server_hours_total = _product(servers, hours_total)
    busy = _ratio(math.fsum(tally.busy_s), learners * elapsed_s)
    held_out = evaluation or {}
    return Summary(
        title=title,
        mode=mode,
        algorithm=algorithm,
        learners=learners,
        batch=batch,
        samples_per_epoch=samples_per_epoch,
        epochs_total=epochs_total,
        extrapolated=extrapolated or (steady is not None and steady.extrapolated),
        steady=steady,
        elapsed_s=elapsed_s,
        wall_s=wall_s,
        steps=steps,
        steps_by_learner=tuple(tally.steps_by_learner),
        updates=tally.updates,
        samples=tally.samples,
        seconds_per_iteration=_ratio(paced_s * learners, batches),
        hours_per_epoch=hours_per_epoch,
        hours_total=hours_total,
        speedup_over_one=None if gradient_s is None else _ratio(batches * gradient_s, paced_s),
        learner_steps_per_s=_ratio(steps, wall_s),
        # Rounding may bring the sum of what was busy a hair above the whole.
        wait_fraction=None if busy is None else max(0.0, 1 - busy),
        bytes_sent=tally.bytes_sent,
        bytes_total=None if whole is None else tally.bytes_sent * whole,
        busiest_links=tuple(sorted(links, key=lambda link: (-link[1], link[0]))),
        staleness=StalenessFigures(
            mean=tally.staleness.mean,
            p50=tally.staleness.percentile(50),
            p99=tally.staleness.percentile(99),
            max=tally.staleness.max,
        ),
        missed_mean=tally.missed_mean,
        consensus_distance=_finite(consensus_distance),
        conservation_error=_finite(conservation_error),
        loss=_finite(held_out.get("loss")),
        accuracy=_finite(held_out.get("accuracy")),
        train_loss=_finite(tally.curve.recent_loss()),
        digest=Digests(timing_digest, numerics_digest),
        servers=servers,
        server_hours_total=server_hours_total,
        cost_total=_product(price_per_server_hour, server_hours_total),
        fitted=tuple(fitted),
        faults=faults,
        memory=memory,
    )


_OPTIONAL = ("accuracy", "steady", "faults", "memory")
"""Keys that are left out of the JSON where there is nothing to say."""


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


def _product(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
