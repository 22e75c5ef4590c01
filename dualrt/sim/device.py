"""The device: how long a computation takes on one accelerator.

Owns profiles, the roofline and jitter. Must not know what is computed, or who waits.

A duration is the nominal one (from a measured profile where there is one for the kind of
computation, else from a roofline), times the device's own fixed factor, times the step's factor
(drawn, or replayed from a recording), stretched where slow periods cover it.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, cycle, islice, repeat
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualrt.core.effects import BFLOAT16, Cost
from dualrt.core.errors import UsageError
from dualrt.core.faults import Slowdown
from dualrt.sim.slowness import Slowness, SlowPeriods

Profile: TypeAlias = tuple[tuple[int, float], ...]
"""Measured points (samples, seconds), by ascending number of samples."""


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """A kind of device, and how much its members and their steps differ.

    Parameters: `profiles` has measured points for kinds of computation (see `Cost.kind`);
    `flops_per_s`, `memory_bytes_per_s` and `launch_s` serve the roofline of all other kinds, and
    `launch_s` is the floor of a profile; `device_sigma` is the sigma of a lognormal factor with
    mean 1 that a device keeps for good; `step_cv` is the coefficient of variation of a gamma factor
    with mean 1 that is drawn for every step. For kinds of computation in `step_factors` that factor
    is not drawn: recorded ones are replayed in their order, over and over, by each device from a
    place of its own. `slow_periods` come and go at random. `interference` is by how much of its
    time a computation takes longer while the device communicates (`dualrt.sim.interference`).
    `bfloat16_speedup` is how many times faster a computation is in that precision.

    Raises `UsageError` for a rate that is not positive, a negative time or spread, a profile whose
    points are not in order, and recorded factors that are not positive.
    """

    flops_per_s: float
    memory_bytes_per_s: float
    launch_s: float = 0.0
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    device_sigma: float = 0.0
    step_cv: float = 0.0
    step_factors: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    slow_periods: SlowPeriods | None = None
    interference: float = 0.0
    bfloat16_speedup: float = 1.0

    def __post_init__(self) -> None:
        for name in ("flops_per_s", "memory_bytes_per_s", "bfloat16_speedup"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"device: {name} = {getattr(self, name)!r} is not positive. "
                    f"Give the rate of the data sheet or a measured one"
                )
        for name in ("launch_s", "device_sigma", "step_cv", "interference"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"device: {name} = {getattr(self, name)!r} is not a number from 0. "
                    f"Use 0 for none"
                )
        for kind, profile in self.profiles.items():
            _check_profile(kind, profile)
        for kind, factors in self.step_factors.items():
            if not factors or not all(0 < factor < math.inf for factor in factors):
                raise UsageError(
                    f"device: step_factors {kind!r} = {factors!r} is not a list of positive "
                    f"numbers. Give what each recorded step took, by what steps take on average"
                )

    def nominal_s(self, cost: Cost) -> float:
        """Seconds on a device without jitter or slow periods."""
        whole_s = cost.parts * self._part_s(cost)
        return whole_s / self.bfloat16_speedup if cost.precision == BFLOAT16 else whole_s

    def _part_s(self, cost: Cost) -> float:
        profile = self.profiles.get(cost.kind)
        if profile is not None:
            return _interpolated_s(profile, cost.samples // cost.parts, self.launch_s)
        arithmetic_s = cost.flops / cost.parts / self.flops_per_s
        traffic_s = cost.bytes_moved / cost.parts / self.memory_bytes_per_s
        return max(arithmetic_s, traffic_s) + self.launch_s


def _check_profile(kind: str, profile: Profile) -> None:
    counts = [samples for samples, _ in profile]
    ascending = all(a < b for a, b in zip([0, *counts], counts, strict=False))
    if not profile or not ascending or not all(0 < time_s < math.inf for _, time_s in profile):
        raise UsageError(
            f"device: profile {kind!r} = {profile!r} is not a list of measured points. Give "
            f"(samples, seconds) pairs, both positive, by ascending number of samples"
        )


def _interpolated_s(profile: Profile, samples: int, floor_s: float) -> float:
    """Seconds for `samples`, piecewise linear through the measured points.

    Above the last point the last slope goes on. Below the first, the first slope does too, as what
    a small batch saves is known from it, but never below the straight line from (0, `floor_s`) to
    the first point: where time grows faster than samples, the slope would lead below zero. With one
    point, that line serves on both sides.
    """
    first, first_s = profile[0]
    proportional_s = floor_s + (first_s - floor_s) * samples / first
    if len(profile) == 1:
        return max(proportional_s, floor_s)
    right = bisect_right(profile, samples, key=lambda point: point[0])
    right = min(max(right, 1), len(profile) - 1)
    (left, left_s), (upper, upper_s) = profile[right - 1], profile[right]
    linear_s = left_s + (upper_s - left_s) * (samples - left) / (upper - left)
    return max(linear_s, floor_s, proportional_s if samples < first else 0.0)


_BLOCK = 128
"""Jitters drawn at once, at a twentieth of what one at a time would cost each."""


_NO_JITTER = 1e-16
"""A spread up to which moves no bit of a time; and a gamma of it has a shape that is no number."""


class Device:
    """One accelerator.

    Parameters: the `spec`; the random stream `fixed`, from which the factor that it keeps is drawn,
    once and now; the stream `steps`, one draw a computation, in blocks; when it is a straggler; the
    stream `weather`, from which its slow periods are drawn.

    Raises `UsageError` for a slowdown that ends before it starts, or whose factor is not positive
    and finite.
    """

    __slots__ = (
        "_drawn",
        "_fixed",
        "_known",
        "_replayed",
        "_slowness",
        "_slows",
        "_spec",
    )

    def __init__(
        self,
        spec: DeviceSpec,
        fixed: random.Random,
        steps: np.random.Generator,
        slowdowns: Sequence[Slowdown] = (),
        weather: random.Random | None = None,
    ) -> None:
        self._spec = spec
        self._known: dict[Cost, tuple[float, Iterator[float]]] = {}
        sigma = spec.device_sigma
        self._fixed = fixed.lognormvariate(-sigma * sigma / 2, sigma) if sigma else 1.0
        self._replayed = {
            kind: _from(factors, int(steps.integers(len(factors))))
            for kind, factors in spec.step_factors.items()
        }
        jitters = spec.step_cv > _NO_JITTER
        self._drawn = _jitters(steps, spec.step_cv) if jitters else repeat(1.0)
        self._slowness = Slowness(slowdowns, spec.slow_periods, weather)
        self._slows = bool(self._slowness)

    def duration_s(self, cost: Cost, now_s: float) -> float:
        """Seconds that a computation takes if it starts at `now_s`, with nothing to disturb it."""
        # A learner asks for the same few computations in every step.
        nominal_s, factors = self._known.get(cost) or self._know(cost)
        work_s = nominal_s * next(factors)
        return self._slowness.stretched_s(work_s, now_s) if self._slows else work_s

    def work_s(self, cost: Cost) -> float:
        """Seconds that the next computation takes, if no slow period covers it."""
        nominal_s, factors = self._known.get(cost) or self._know(cost)
        return nominal_s * next(factors)

    def stretched_s(self, work_s: float, now_s: float) -> float:
        """How long so much work takes from `now_s` on, with the device's slow periods."""
        return self._slowness.stretched_s(work_s, now_s)

    def done_s(self, start_s: float, end_s: float) -> float:
        """How much work gets done between two instants."""
        return self._slowness.done_s(start_s, end_s)

    def _know(self, cost: Cost) -> tuple[float, Iterator[float]]:
        """Seconds of a computation on this device, and the factors of its steps."""
        known = self._known[cost] = (
            self._spec.nominal_s(cost) * self._fixed,
            self._replayed.get(cost.kind, self._drawn),
        )
        return known


class Company:
    """Devices that do the same computations one after another, each at its own pace."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = tuple(devices)
        self._alike = not any(device._slows or device._replayed for device in devices)
        self._factors = chain.from_iterable(map(self._draw, repeat(_BLOCK)))
        self._nominal_s: dict[Cost, NDArray[np.float64]] = {}

    def durations_s(self, cost: Cost, starts_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `Device.duration_s` would say of each, for its start."""
        if not self._alike:
            pairs = zip(self._devices, starts_s.tolist(), strict=True)
            return np.array([device.duration_s(cost, start_s) for device, start_s in pairs])
        nominal_s = self._nominal_s.get(cost)
        if nominal_s is None:
            known = [device._know(cost)[0] for device in self._devices]
            nominal_s = self._nominal_s[cost] = np.array(known)
        durations_s: NDArray[np.float64] = nominal_s * next(self._factors)
        return durations_s

    def _draw(self, steps: int) -> NDArray[np.float64]:
        """Factors of all devices for so many steps, drawn by each as if it were alone."""
        return np.array([[*islice(device._drawn, steps)] for device in self._devices]).T.copy()


def _jitters(steps: np.random.Generator, step_cv: float) -> Iterator[float]:
    """Factors of steps, one after another, without end."""
    # A gamma with shape 1 / cv^2 and scale cv^2 has mean 1 and coefficient of variation cv.
    scale = step_cv**2
    return chain.from_iterable(steps.gamma(1 / scale, scale, _BLOCK).tolist() for _ in repeat(None))


def _from(factors: Sequence[float], place: int) -> Iterator[float]:
    """All factors in their order, over and over, beginning with the one at `place`."""
    return cycle((*factors[place:], *factors[:place]))


SWB2000_EPOCH_SAMPLES = 31.87e6
"""Segments of one epoch of SWB-2000, derived from the hours that the papers below print."""


def _gradient_s(samples: int, hours: float, epochs: int) -> float:
    """Seconds of one iteration, from the hours that `epochs` epochs of SWB-2000 take one GPU."""
    return samples * hours * 3600 / (epochs * SWB2000_EPOCH_SAMPLES)


P100 = DeviceSpec(
    flops_per_s=9.3e12,
    memory_bytes_per_s=732e9,
    profiles=MappingProxyType(
        {
            "gradient": (
                (32, _gradient_s(32, hours=18.33, epochs=1)),
                (160, 0.171),
                (256, _gradient_s(256, hours=8.58, epochs=1)),
            )
        }
    ),
)
"""A P100 that trains the six-layer bidirectional LSTM of the SWB-2000 experiments.

"gradient" is a whole iteration on one GPU (gradient and update, no communication), as the authors
of arXiv 1904.04956 measured it; the rates are those of NVIDIA's data sheet for the PCIe board.
Kernel launches were not measured apart: they are in the profile, and a roofline here has none.
"""

V100 = DeviceSpec(
    flops_per_s=15.7e12,
    memory_bytes_per_s=900e9,
    profiles=MappingProxyType(
        {
            "gradient": (
                (80, _gradient_s(80, hours=195, epochs=16)),
                (128, _gradient_s(128, hours=203.21, epochs=16)),
            )
        }
    ),
)
"""A V100 in an x86 server, with the same model and meaning as `P100`.

Measured by the authors of arXiv 1904.04956 and its sequels. They do not agree on the batch of the
195 h: 1904.04956 says 80, which is taken here, and 2002.10502 prints 256. That two points of
different papers make time grow faster than samples (0.110 s for 80, 0.184 s for 128) is a reason to
trust each near its own batch only. The rates are those of NVIDIA's data sheet (SXM2).
"""

V100_POWER9 = DeviceSpec(
    flops_per_s=15.7e12,
    memory_bytes_per_s=900e9,
    profiles=MappingProxyType(
        {
            "gradient": (
                (128, _gradient_s(128, hours=121.96, epochs=16)),
                (256, _gradient_s(256, hours=99.00, epochs=16)),
                (512, _gradient_s(512, hours=82.06, epochs=16)),
            )
        }
    ),
)
"""A V100 in a POWER9 server with NVLink to the host; otherwise as `V100`.

Measured by the authors of arXiv 2002.01119 and 2110.11199.
"""

KNOWN: Mapping[str, DeviceSpec] = MappingProxyType(
    {"P100": P100, "V100-x86": V100, "V100-P9": V100_POWER9}
)
"""The devices above, by the name that a scenario gives them."""


def described(fields: Mapping[str, Any]) -> DeviceSpec:
    """The device of a description: a known one by its `name`, own figures, or these over those.

    Keys are those of `DeviceSpec`. Raises `UsageError` for an unknown name and impossible figures.
    """
    figures = dict(fields)
    name = figures.pop("name", None)
    if "slow_periods" in figures:
        figures["slow_periods"] = SlowPeriods(**figures["slow_periods"])
    if name is None:
        return DeviceSpec(**figures)
    if name not in KNOWN:
        raise UsageError(
            f"name = {name!r}: no device of that name is known. Known are {', '.join(KNOWN)}; or "
            f"give flops_per_s and memory_bytes_per_s"
        )
    return replace(KNOWN[name], **figures)
