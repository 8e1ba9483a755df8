"""The values of images, as plain facts: the record behind ``medimg stats``, its JSON and its tables.

A record is a JSON-able mapping, one for each channel, and for each label where there is a label map. Keys may be added,
none changes its meaning: :data:`SCHEMA` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.expanding import open_named
from medimg_cli.facts import find_images
from medimg_cli.formats import open_backend
from medimg_cli.listing import Listing, failed

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.reading import Reading
    from medimg_cli.labels import LabelTable

__all__ = ["SCHEMA", "Describing", "describe_images"]

SCHEMA = "medimg.stats/1"


@dataclass(frozen=True, kw_only=True)
class Describing:
    """What is to be found out about values.

    Parameters
    ----------
    mask, labels : str, optional
        Images on the same grid: which voxels count, and which label each of them has.
    table : str, optional
        File with names of the labels, instead of those that the label map brings along.
    percentiles : sequence of float, optional
        0 to 100; left out: those of `statistics.describe.PERCENTILES`.
    above : float, optional
        Threshold.
    each : bool
        Whether channels are described one by one.
    reading : Reading, optional
        Which image of a source that holds several; not for mask and label map.

    Raises
    ------
    UsageError
        If there is a table and no label map, or a number makes no sense.
    MedImgError
        If a file cannot be read.
    """

    mask: str | None = None
    labels: str | None = None
    table: str | None = None
    percentiles: Sequence[float] | None = None
    above: float | None = None
    each: bool = True
    reading: Reading | None = None

    def __post_init__(self) -> None:
        from medimg_cli.statistics.describe import check_numbers

        if self.table is not None and self.labels is None:
            raise UsageError("--table names labels, and there are none", hint="give --labels FILE")
        check_numbers(self.asked, self.above)
        _ = self._others, self._names, self.known

    @property
    def asked(self) -> Sequence[float]:
        """The percentiles."""
        from medimg_cli.statistics.describe import PERCENTILES

        return self.percentiles or PERCENTILES

    @cached_property
    def _others(self) -> tuple[Backend | None, Backend | None]:
        """Mask and label map."""
        mask, labels = (None if path is None else open_backend(path) for path in (self.mask, self.labels))
        return mask, labels

    @cached_property
    def _names(self) -> LabelTable | None:
        from medimg_cli.labels import LabelTable

        return None if self.table is None else LabelTable.read(self.table)

    @cached_property
    def known(self) -> tuple[int, ...] | None:
        """The labels that the label map holds, without the background 0; None without a label map."""
        from medimg_cli.statistics.selection import found_labels

        labels = self._others[1]
        try:
            return None if labels is None else found_labels(labels)
        except MedImgError as error:
            raise error.at(self.labels) from None

    def listing(self, path: str) -> Listing:
        """Describe the image of a path.

        Raises
        ------
        MedImgError
            If it cannot be read, or mask or label map do not lie on its grid.
        """
        from medimg_cli.statistics.describe import describe
        from medimg_cli.statistics.selection import check_match

        image, (mask, labels) = open_named(path, self.reading), self._others
        for other, what, name in ((mask, "mask", self.mask), (labels, "label map", self.labels)):
            if other is not None:
                check_match(image.header, other.header, what, f"{quote(path)} {quote(name or '')} OUT.nii.gz")
        options: dict[str, Any] = {} if self.known is None else {"known": self.known}
        found = describe(
            image,
            mask=mask,
            labels=labels,
            table=self._names,
            percentiles=self.asked,
            above=self.above,
            each=self.each,
            **options,
        )
        records = tuple({"schema": SCHEMA, "path": path, **one.facts()} for one in found)
        return Listing(path, records, image.header.warnings)


def describe_images(paths: Iterable[str], wanted: Describing, *, recursive: bool = False) -> Iterator[Listing]:
    """Describe all images; a path that fails never stops the others.

    Parameters
    ----------
    paths : iterable of str
        ``-`` is standard input.
    wanted : Describing
    recursive : bool
        Whether to look for images in folders.

    Yields
    ------
    Listing
        One an image.
    """
    for path in paths:
        try:
            images = list(find_images([path], recursive=recursive))
        except Exception as error:
            yield failed(SCHEMA, path, error)
            continue
        for image in images:
            try:
                yield wanted.listing(image)
            except Exception as error:
                yield failed(SCHEMA, image, error)
