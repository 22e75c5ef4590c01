"""Processes: what those of a run on this host have in common, whatever the command.

Owns how each begins and how it ends when it is asked to, what it tells of how far it is, and what
their parent does with all that they tell. Must not know what they are for.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from dualrt.cli import logs, show, talk
from dualrt.core.errors import DualrtError, PreemptedError, UsageError
from dualrt.real.reports import REPORTS
from dualrt.scenario import Scenario

Tell = Callable[[float], None]
"""Told the share that is done, from 0 to 1."""


def refuse_local_inside() -> None:
    """Raise UsageError for --local in a process that a launcher started."""
    if "RANK" in os.environ:
        raise UsageError(
            "--local starts processes, and this is one that a launcher started. Leave --local out"
        )


def keys_for_this_run(scenario: Scenario) -> dict[str, str]:
    """What the processes of one host need to know each other, by the variable that says where.

    Keys when gossip is encrypted and nobody gave them any; a word when it is not.
    """
    from dualrt.real import keys, word

    real = scenario.real
    if not keys.wanted(real.curve, real.keys, real.interface, os.environ):
        return {word.WORD: word.Word.make().text.decode()}
    given = real.keys or os.environ.get(keys.KEYS)
    return {} if given else {keys.KEYS: keys.Keys.make().text()}


def listener(tell: Tell, told: Callable[[Mapping[str, Any]], None]) -> Callable[[str], None]:
    """What a parent does with each line of its processes.

    What user's code printed becomes a note, records of logging go where its own go, and how far
    they are goes to `tell`; all else that they say, to `told`.
    """

    def hear(line: str) -> None:
        printed, said = talk.heard(line)
        if printed is not None:
            show.note(printed)
        match said:
            case {"record": record}:
                logs.repeat(record)
            case {"progress": share}:
                tell(share)
            case _ if said:
                told(said)

    return hear


@contextmanager
def one_of_them() -> Iterator[bool]:
    """This process, as one of a run; whether a parent hears what it tells.

    Where it is asked to end it does so at once.
    """
    from dualrt.real import watchdog

    # Before torch is loaded, which takes seconds; until then a signal ends the process by itself.
    heard, formed_before = REPORTS in os.environ, _formed_anew()
    with watchdog.signals_raise_once():
        try:
            with logs.beside():
                yield heard
        except KeyboardInterrupt as asked:
            if not heard:
                show.fail(watchdog.words(asked), "stopped")
            watchdog.leave(watchdog.exit_code(asked))
        except PreemptedError as error:
            if not heard:
                show.fail(str(error), "preempted")
            watchdog.leave(128 + signal.SIGTERM)
        except DualrtError as error:
            if "RANK" not in os.environ:
                raise
            # Threads of this learner may be in the middle of a gradient.
            show.fail(str(error))
            watchdog.leave(2 if isinstance(error, UsageError) else 1)
        if "RANK" in os.environ and _formed_anew() > formed_before:
            watchdog.leave(0)


def _formed_anew() -> int:
    """Groups that this process has formed after a loss, if it has any at all."""
    groups = sys.modules.get("dualrt.real.process_groups")
    return 0 if groups is None else groups.formed_anew()


@contextmanager
def telling(what: str, rank: int, heard: bool) -> Iterator[Tell | None]:
    """Who is to be told how far this process is: of all of them, it is rank 0 that says so.

    Where no parent hears it, there is a bar on stderr, named `what`, and stdout is kept for the
    result alone: what user's code prints meanwhile goes to stderr.
    """
    if rank != 0:
        yield None
    elif heard:
        yield _by_the_hundredth()
    else:
        with redirect_stdout(sys.stderr), show.progress(what) as tell:
            yield tell


def _by_the_hundredth() -> Tell:
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if share - told >= 0.01 or share >= 1.0 > told:
            told = share
            talk.say({"progress": share})

    return tell
