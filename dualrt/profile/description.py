"""Description: a measured machine as a cluster that a scenario can name.

Owns which figure becomes which key, and why. Must not know how it was measured.

The cluster is one server with a device for each learner. Where learners compute on the processor,
what lies between them is the loopback: all connections together move what the line that stands for
PCIe carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dualrt.profile.measure import LEAST_SHARE, Report
from dualrt.scenario import toml

DIGITS = 4
"""Significant ones that are written: more than are meant."""

UNUSED_NIC_BYTES_PER_S = 1e9

GLOO_LAUNCH_S = 200e-6


class Line(NamedTuple):
    """A key, and where its value comes from."""

    key: str
    value: Any
    why: str


def described(report: Report, *, record: bool = False) -> str:
    """The text of a file for topologies/ or `cluster.file`.

    With `record` the recorded steps are in it, to be replayed in place of a drawn spread.
    """
    learners = f"{report.learners} learner{'s' if report.learners != 1 else ''}"
    cores = f"{report.cores} core{'s' if report.cores != 1 else ''}"
    source = (
        f"dualrt profile {report.workload}, {report.measured_at}: {learners} with "
        f"{report.threads} thread each on {report.host}, {cores}, torch {report.torch}; load "
        f"{report.load_before:.1f} before, measured in {report.took_s:.0f} s"
    )
    head = [
        Line("title", f"This machine, with {learners} of {report.workload}", ""),
        Line("source", source, ""),
        Line("servers", 1, "gpus_per_server is left out: a device a learner"),
        Line("sockets_per_server", 1, "one line that all learners share"),
    ]
    lines = [*head, *_links(report)]
    return "\n".join(
        [
            *map(_written, lines),
            "",
            "[device]",
            *map(_written, _device(report, record=record)),
            "",
        ]
    )


def _links(report: Report) -> Iterator[Line]:
    unused = "not measured; never used by learners of one server"
    yield Line("nic_bytes_per_s", UNUSED_NIC_BYTES_PER_S, unused)
    if report.pcie is None:
        together = report.gossip.together_bytes_per_s
        yield Line("pcie_bytes_per_s", together, "no GPU: exchanges of all pairs of learners")
    else:
        slower = min(report.pcie.up_bytes_per_s, report.pcie.down_bytes_per_s)
        yield Line("pcie_bytes_per_s", slower, "all learners at once, the slower direction")
        yield Line("pcie_latency_s", report.pcie.latency_s, "a copy of one byte")
    yield Line("host_memory_bytes_per_s", report.blend.together_bytes_per_s, "blends of all")
    yield Line("host_thread_bytes_per_s", report.blend.alone_bytes_per_s, "a blend alone")
    yield Line("socket_bytes_per_s", report.gossip.alone_bytes_per_s, "exchanges of one pair")
    if report.software is None:
        idle = f"between learners that compute; else {report.message_s:.3g}"
        yield Line("message_overhead_s", report.busy_message_s, idle)
    else:
        work_s = report.software.message_s
        waited_s = max(0.0, report.message_s - 2 * work_s)
        yield Line("message_overhead_s", waited_s, "an empty message, less the work at both ends")
        yield Line("message_work_s", work_s, "of a processor, at either end of a model's message")
        shared = f"{report.cores} for learners of {report.threads} thread each"
        yield Line("processors_per_server", report.cores / report.threads, shared)
    yield Line("collective_launch_s", GLOO_LAUNCH_S, "not measured; assumed: a gloo call")


def _device(report: Report, *, record: bool) -> Iterator[Line]:
    beside_s = 0.0 if report.software is None else report.software.step_s
    times_s = rising([point.work_s for point in report.gradients])
    times_s = [time_s + beside_s for time_s in times_s]
    batches = [point.batch for point in report.gradients]
    points = [[batch, _rounded(time_s)] for batch, time_s in zip(batches, times_s, strict=True)]
    at_batches = f"at {', '.join(map(str, batches))} samples"
    what = "[samples, seconds], all learners at once"
    if report.software is not None:
        what += f"; of a processor, {beside_s:.3g} of them for the runtime"
    yield Line("profiles", {"gradient": points}, what)
    yield Line(
        "flops_per_s",
        report.flops / max(times_s[-1] - report.launch_s, LEAST_SHARE * times_s[-1]),
        f"{report.flops:.4g} flops of the last gradient in its time",
    )
    traffic_s = max(report.update_s - report.launch_s, LEAST_SHARE * report.update_s)
    yield Line(
        "memory_bytes_per_s",
        3 * report.parameters_bytes / traffic_s,
        f"an update of {report.parameters_bytes} bytes: read two, write one",
    )
    yield Line("launch_s", report.launch_s, "an update of four weights")
    sigma = sum(point.sigma for point in report.gradients) / len(report.gradients)
    yield Line("device_sigma", sigma, f"between learners, {at_batches}")
    cv = sum(point.cv for point in report.gradients) / len(report.gradients)
    yield Line("step_cv", cv, f"between gradients, {at_batches}")
    if report.software is None:
        yield Line("interference", report.interference, "gradients of learners that exchange")
    if record and report.recorded:
        factors = [_rounded(factor) for factor in report.recorded]
        yield Line("step_factors", {"gradient": factors}, "by their mean, one learner's in order")


def rising(times_s: Sequence[float]) -> list[float]:
    """The nearest times, in least squares, of which none is below the one before.

    More samples never take less time: what says otherwise is noise, which the simulator would
    prolong beyond the last point. (Pooling of adjacent violators.)
    """
    pools: list[tuple[float, int]] = []
    for time_s in times_s:
        total_s, count = time_s, 1
        while pools and pools[-1][0] / pools[-1][1] >= total_s / count:
            before_s, more = pools.pop()
            total_s, count = total_s + before_s, count + more
        pools.append((total_s, count))
    return [total_s / count for total_s, count in pools for _ in range(count)]


def _written(line: Line) -> str:
    value = line.value
    if isinstance(value, Mapping):
        ((name, inner),) = value.items()
        text = f"{line.key}.{toml.dumps({name: inner}).strip()}"
    else:
        text = toml.dumps({line.key: _rounded(value)}).strip()
    return f"{text}  # {line.why}" if line.why else text


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
