"""The command line: `dualrt simulate`, `dualrt train` and their kin.

Owns exit codes: 0 for success, 1 for a run that failed, 2 for input that cannot be; 130 for Ctrl-C,
143 for SIGTERM, 129 for SIGHUP; 141 where whoever reads the results has stopped reading.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from dualrt.cli import logs
from dualrt.core.errors import DualrtError, PreemptedError, UsageError
from dualrt.real import watchdog
from dualrt.real.reports import REPORTS


def main() -> None:
    """The entry point of the `dualrt` command."""
    _end_with_launcher()
    try:
        with watchdog.signals_raise(), logs.heard():
            _answer()
    except BrokenPipeError:
        _leave_the_pipe()
    except SystemExit as end:
        # That is what typer and rich make of it.
        if isinstance(end.__context__, BrokenPipeError):
            _leave_the_pipe()
        raise


def _end_with_launcher() -> None:
    """Before anything is loaded, which takes seconds where there is much to do."""
    # Others than these end what they have started by themselves; a shell that is left does not
    # mean to.
    watchdog.end_with_torchrun()
    if REPORTS in os.environ:
        from dualrt.real import launcher

        launcher.end_with_parent()


def _answer() -> None:
    try:
        # A signal may come while this is loaded.
        from dualrt.cli.app import app

        app()
    except SystemExit as end:
        # Here, where it can still be told, and not in the interpreter's last moments.
        if not end.code and sys.stdout is not None:
            sys.stdout.flush()
        if end.code == 1 and watchdog.asked_to_end() is not None:
            # A signal between typer's own steps, of which it makes an abort.
            _fail_unless_asked("")
        raise
    except UsageError as error:
        _fail(str(error), 2)
    except PreemptedError as error:
        _fail(str(error), 128 + signal.SIGTERM, "preempted")
    except DualrtError as error:
        _fail_unless_asked(str(error))
    except KeyboardInterrupt as asked:
        _fail(watchdog.words(asked), watchdog.exit_code(asked), "stopped")
    except Exception as error:
        if watchdog.asked_to_end() is None:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                _fail(f"what is written has no room: {error}. Make some, and start again", 1)
            raise
        _fail_unless_asked("")


def _fail_unless_asked(why: str) -> NoReturn:
    """Fail, but for an error that a library has made of a signal, or of its own end by one."""
    asked = watchdog.asked_to_end()
    if asked is None:
        _fail(why, 1)
    _fail(watchdog.words(asked), watchdog.exit_code(asked), "stopped")


def _fail(why: str, code: int, event: str = "failed") -> NoReturn:
    from dualrt.cli import show

    show.fail(why, event)
    sys.exit(code)


def _leave_the_pipe() -> None:
    """Nobody reads any more (`dualrt ... | head`): end without a word, as SIGPIPE would."""
    with suppress(OSError, ValueError):
        # What is still in the buffer would fail once more as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
