"""Run the command line: ``python -m medimg_cli``, and what the ``medimg`` script calls.

The garbage collector sleeps while modules load, and its last search at exit is left out: neither would find
anything, and together they cost more than reading a header.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line of this process, and return its exit code."""
    gc.disable()
    from medimg_cli.cli.app import main

    gc.freeze()
    gc.enable()
    try:
        return main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(run())
