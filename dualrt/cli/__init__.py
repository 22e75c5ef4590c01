"""The command line: `dualrt simulate`, `dualrt train` and their kin.

Owns exit codes: 0 for success, 1 for a run that failed, 2 for input that cannot be, 130 for Ctrl-C.
"""

from __future__ import annotations

import signal
import sys

from dualrt.core.errors import DualrtError, UsageError


def main() -> None:
    """The entry point of the `dualrt` command."""
    from dualrt.cli.app import app

    # The same end as Ctrl-C: nothing that was started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except UsageError as error:
        print(f"dualrt: {error}", file=sys.stderr)
        sys.exit(2)
    except DualrtError as error:
        print(f"dualrt: {error}", file=sys.stderr)
        sys.exit(1)
