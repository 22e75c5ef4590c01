"""The command line: `dualrt simulate`, `dualrt train` and their kin.

Owns exit codes: 0 for success, 1 for a run that failed, 2 for input that cannot be, 130 for Ctrl-C.
"""

from __future__ import annotations

import sys

from dualrt.core.errors import DualrtError, UsageError


def main() -> None:
    """The entry point of the `dualrt` command."""
    from dualrt.cli.app import app

    try:
        app(standalone_mode=True)
    except UsageError as error:
        print(f"dualrt: {error}", file=sys.stderr)
        sys.exit(2)
    except DualrtError as error:
        print(f"dualrt: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("dualrt: interrupted", file=sys.stderr)
        sys.exit(130)
