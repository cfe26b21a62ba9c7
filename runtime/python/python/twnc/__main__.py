"""The command: `python -m twnc` is `twnc`."""

from __future__ import annotations

import signal
import sys

from . import _twnc


def main() -> int:
    """Does what the process's command line says; gives the exit code."""
    # As in any other command; Python's own handler would wait for the end of the work.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _twnc.main(["twnc", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
