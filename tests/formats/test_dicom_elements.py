"""Elements of a DICOM file: what is decoded is what was stored, and costs no more memory than it must."""

from __future__ import annotations

import tracemalloc

from medimg_cli.formats.dicom.elements import Elements, Raw
from medimg_cli.storage.source import open_source

Rows = dict[int, Raw]


def elements(raw: Rows, content: bytes = b"") -> Elements:
    return Elements(raw, open_source(content, name="x.dcm"))


def test_long_values_are_not_remembered() -> None:
    """Headers of hostile files, each with a vector of its own, must not pile up."""
    tracemalloc.start()
    for n in range(20):
        vector = b"\\".join([b"%08d" % n] * (1 << 13))
        found = elements({0x00181065: ("DS", vector, False)}).numbers("FrameTimeVector")
        assert found is not None and len(found) == 1 << 13 and found[0] == n
        elements({0x0008103E: ("LO", vector, False)}).text("SeriesDescription")
    del vector, found
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 19


def test_a_creator_that_was_not_read_is_read() -> None:
    """Values of more than 1 KiB stay in the file, those of private creators as well."""
    creator = b"GEMS_ACQU_01".ljust(2000)
    raw: Rows = {0x00190010: ("LO", (0, len(creator)), False), 0x001910BB: ("DS", b"0.5 ", False)}
    assert elements(raw, creator).number("GEGradientX") == 0.5
