"""Engines: where the simulations of a sweep run: in processes here, or on a cluster that is there.

Owns the talk with joblib, dask and ray, and that nothing of ours goes on there when a sweep is
broken off. Must not know what is computed.

Every engine yields a result as soon as it is there, so that a sweep keeps it. ray has a backend for
joblib, but it can only return all results at once, so ray's own process pool is used instead.

On a cluster the same dualrt must be installed, and relative files must be found from where workers
run.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Generic, Protocol, TypeVar

import joblib

from dualrt.core.errors import MissingExtraError, RunError, UsageError
from dualrt.real import watchdog

T = TypeVar("T")
R = TypeVar("R")

LOCAL_JOBS = 2
"""Processes at a time on this machine if nothing is said."""

CONNECT_S = 10
"""How long a cluster is looked for; ray by itself would go on for minutes."""


class Engine(Protocol):
    """Something that works through tasks in other processes."""

    def map(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """(place, result) of each task, in the order in which they are done.

        Raises RunError if a process dies.
        """


@contextmanager
def engine(name: str, address: str | None, jobs: int | None) -> Iterator[Engine]:
    """The engine of that name, for as long as the context lasts.

    `address` is that of a cluster; without one, dask's and ray's own environment variables say
    which. `jobs` at a time: by default 2 with "loky", and what there is with "ray".

    Raises UsageError for an unknown name, an address where there is no cluster or `jobs` that the
    engine does not heed; MissingExtraError if its package is not installed.
    """
    match name:
        case "loky":
            if address is not None:
                raise UsageError("--engine-address goes with --engine dask or --engine ray")
            yield Loky(LOCAL_JOBS if jobs is None else jobs)
        case "dask":
            if jobs is not None:
                raise UsageError(
                    "--jobs has no effect with --engine dask, whose scheduler gives work to every "
                    "worker. Leave it out, and start as many workers as you want"
                )
            with _dask(address) as on_dask:
                yield on_dask
        case "ray":
            with _ray(address, jobs) as on_ray:
                yield on_ray
        case _:
            raise UsageError(f"--engine {name} is unknown. Known are loky, dask and ray")


class Loky:
    """Processes on this machine, kept for the next call: most of a short run is imports."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`."""
        parallel = joblib.Parallel(
            n_jobs=max(1, min(self._jobs, len(tasks))),
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            initializer=_settle,
            initargs=(os.getpid(),),
        )
        placed = joblib.delayed(_Placed(work))
        try:
            yield from parallel(map(placed, enumerate(tasks)))
        except BrokenProcessPool as error:
            raise RunError(
                "a process of the sweep died, killed perhaps for want of memory. Try a smaller "
                "--jobs; with --out, what is done is kept"
            ) from error


class _Dask:
    """joblib's backend for dask; the client that it uses is the current one."""

    def map(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        placed = joblib.delayed(_Placed(work))
        try:
            with joblib.parallel_config(backend="dask"):
                parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
                yield from parallel(map(placed, enumerate(tasks)))
        except (KilledWorker, CommClosedError, CancelledError) as error:
            raise _lost("dask", error) from error
        except ModuleNotFoundError as error:
            raise _not_there("dask", error) from error


class _Ray:
    """ray's process pool."""

    def __init__(self, jobs: int | None) -> None:
        self._jobs = jobs

    def map(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """See `Engine`."""
        import ray
        from ray.util.multiprocessing import Pool

        # The end of the context ends the workers, whatever they do.
        with Pool(self._jobs) as pool:
            try:
                yield from pool.imap_unordered(_Placed(work), enumerate(tasks), chunksize=1)
            except ray.exceptions.RayActorError as error:
                raise _lost("ray", error) from error
            except ModuleNotFoundError as error:
                raise _not_there("ray", error) from error


class _Placed(Generic[T, R]):
    """`work` as a function of a numbered task, which can be sent to another process."""

    def __init__(self, work: Callable[[T], R]) -> None:
        self._work = work

    def __call__(self, numbered: tuple[int, T]) -> tuple[int, R]:
        place, task = numbered
        return place, self._work(task)


@contextmanager
def _dask(address: str | None) -> Iterator[Engine]:
    if find_spec("distributed") is None:
        raise MissingExtraError("distributed", "dask", "--engine dask")
    import dask.config
    from distributed import Client

    address = address or dask.config.get("scheduler-address", None)
    if address is None:
        raise _no_address("dask", "tcp://HOST:8786", "DASK_SCHEDULER_ADDRESS")
    try:
        client = Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise _no_cluster("dask", address, error) from error
    with client:
        yield _Dask()


@contextmanager
def _ray(address: str | None, jobs: int | None) -> Iterator[Engine]:
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "ray", "--engine ray")
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        raise _no_address("ray", "HOST:6379, or `auto` on a machine of it", "RAY_ADDRESS")
    with _said_to_stderr():
        try:
            host, colon, port = address.rpartition(":")
            if colon and port.isdecimal() and "/" not in host:
                socket.create_connection((host, int(port)), CONNECT_S).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError) as error:
            raise _no_cluster("ray", address, error) from error
        try:
            yield _Ray(jobs)
        finally:
            ray.shutdown()


@contextmanager
def _said_to_stderr() -> Iterator[None]:
    """Send what this process says on stdout to stderr: stdout is for the result.

    By the descriptor, as ray's own threads, and its part in C++, say things now and then.
    """
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _no_address(name: str, form: str, variable: str) -> UsageError:
    return UsageError(
        f"--engine {name} runs on a cluster that is there already. Say where with "
        f"--engine-address {form}; or set {variable}"
    )


def _no_cluster(name: str, address: str, error: Exception) -> UsageError:
    return UsageError(
        f"--engine-address {address}: there is no {name} cluster that answers: {error}. "
        "Start it first, or name another address"
    )


def _lost(name: str, error: Exception) -> RunError:
    return RunError(
        f"the {name} cluster lost a simulation: {error}. See its own logs; with --out, what is "
        "done is kept"
    )


def _not_there(name: str, error: ModuleNotFoundError) -> RunError:
    return RunError(
        f"a worker of the {name} cluster has no module {error.name!r}. Install there what is "
        "installed here: the same dualrt with the same extras"
    )


def _settle(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watchdog.end_with(parent)
