"""Run the command line: ``python -m medimg_cli``, and what the ``medimg`` script calls.

The garbage collector sleeps while modules load, and its last search at exit is left out: neither would find
anything, and together they cost more than reading a header.
"""

from __future__ import annotations

import gc
import os
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line of this process, and return its exit code."""
    gc.disable()
    _open_streams()
    from medimg_cli.cli.app import main

    gc.freeze()
    gc.enable()
    try:
        return main()
    finally:
        gc.freeze()


def _open_streams() -> None:
    """Fill the places of standard streams that the caller closed, so that no file opened later takes them.

    Input is empty then, output fails, messages vanish.
    """
    for name, flag, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode))


if __name__ == "__main__":
    sys.exit(run())
