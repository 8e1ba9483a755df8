"""PALETTE COLOR: numbers that are places in a table of colours (PS3.3, C.7.6.3.1.5 and C.7.9).

Decision: the numbers of the image are those that are stored, as pydicom and dcm2niix have it, and nothing is lost when
it is converted; whoever shows it asks for its colours. SimpleITK gives the colours only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import BLOCK, Backend, Buffer
from medimg_cli.formats.dicom.reading import DicomFile, full_dataset
from medimg_cli.formats.foreign import DerivedBackend, foreign_errors
from medimg_cli.storage.stored import Layout, Region

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PALETTE", "ColouredBackend", "PaletteBackend"]

#: PhotometricInterpretation of such files.
PALETTE = "PALETTE COLOR"
_TABLES = tuple(
    f"{segmented}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)


class PaletteBackend(DerivedBackend):
    """Places in a table of colours, as they are stored, with the file whose table it is.

    Parameters
    ----------
    base : Backend
    file : DicomFile
    """

    def __init__(self, base: Backend, file: DicomFile) -> None:
        super().__init__(base, base.header)
        self.file = file

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        return self.base.read(region, raw=True)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        if raw or not self.header.scaled:
            yield from self.base.blocks(layout, raw=True, max_bytes=max_bytes)
        else:
            yield from super().blocks(layout, raw=raw, max_bytes=max_bytes)

    def coloured(self) -> Backend:
        """Return the image in its colours; itself where its table is missing or damaged."""
        table = _table(self.file)
        return self if table is None else ColouredBackend(self, table)


class ColouredBackend(DerivedBackend):
    """The colours of an image whose numbers are places in a table.

    Parameters
    ----------
    base : Backend
    table : numpy.ndarray, (entries, 3)
        uint8 or uint16, from 0.
    """

    def __init__(self, base: Backend, table: np.ndarray[Any, Any]) -> None:
        header = base.header
        times, i, j, k = header.shape
        super().__init__(
            base,
            header.replace(
                shape=(3 * times, i, j, k),
                dtype=table.dtype.name,
                axes=(*header.axes, ("rgb", 3)),
                slope=None,
                inter=None,
                metadata={**header.metadata, "PhotometricInterpretation": "RGB"},
            ),
        )
        self.table = table

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        c, i, j, k = region
        times = self.base.header.shape[0]
        each = {channel % times for channel in c}
        places = {time: self.base.read((range(time, time + 1), i, j, k), raw=True)[0] for time in each}
        return np.stack([self.table[places[channel % times], channel // times] for channel in c])


def _table(file: DicomFile) -> np.ndarray[Any, Any] | None:
    """Return the colour of every number that can be stored, (numbers, 3); None where there is no table of them."""
    import numpy as np
    from pydicom.pixels import apply_color_lut

    pixels = file.pixels
    if pixels.signed or pixels.stored > 16:
        return None
    try:
        with foreign_errors(file.source.name, "DICOM"):
            dataset = full_dataset(file, *_TABLES)
            table = apply_color_lut(np.arange(1 << max(pixels.stored, 8), dtype=pixels.dtype), dataset)
    except ValueError:
        return None
    return table if table.dtype.name in ("uint8", "uint16") else None
