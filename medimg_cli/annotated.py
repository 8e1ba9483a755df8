"""`Annotated`: points and boxes that an image carries, wherever its voxels go.

An annotation lies in the world, so no operation needs to know of it: when somebody asks, it is handed out along the
voxel axes that the image has by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from medimg_cli.operated import Operated

if TYPE_CHECKING:
    from medimg_cli.annotations import BoundingBoxes, Points
    from medimg_cli.header import Header

__all__ = ["Annotated", "Annotations"]

Kind = TypeVar("Kind")


class Annotations(MutableMapping[str, Kind], Generic[Kind]):
    """Named annotations of an image, in the voxel axes of now where they count along voxel axes.

    Parameters
    ----------
    held : dict
        The annotations as the image has them now.
    write : callable
        Takes all of them after a change; returns what the image holds then.
    """

    def __init__(self, held: dict[str, Kind], write: Callable[[dict[str, Any]], dict[str, Kind]]) -> None:
        self._held, self._write = held, write

    def __getitem__(self, name: str) -> Kind:
        return self._held[name]

    def __setitem__(self, name: str, value: Kind) -> None:
        self._held = self._write({**self._held, name: value})

    def __delitem__(self, name: str) -> None:
        self._held = self._write({key: self._held[key] for key in self._held.keys() - {self._known(name)}})

    def _known(self, name: str) -> str:
        _ = self._held[name]
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return repr(self._held)


class Annotated(Operated):
    """What is known of places in an image.

    Annotations are held as they were given or last written, with the affine that ties them to the world.
    """

    _points: dict[str, Points]
    _boxes: dict[str, BoundingBoxes]

    @property
    def points(self) -> MutableMapping[str, Points]:
        """Named sets of `Points`; they follow every operation.

        Coordinates along voxel axes count along those that the image has now; one set can be given without a name.
        """
        return Annotations(self._followed(self._points), self._take_points)

    @points.setter
    def points(self, points: Any) -> None:
        self._take_points(points)

    @property
    def bounding_boxes(self) -> MutableMapping[str, BoundingBoxes]:
        """Named sets of `BoundingBoxes`; they follow every operation, as `points` do."""
        return Annotations(self._followed(self._boxes), self._take_boxes)

    @bounding_boxes.setter
    def bounding_boxes(self, boxes: Any) -> None:
        self._take_boxes(boxes)

    def _take_points(self, points: Any) -> dict[str, Points]:
        if points or self._points:  # None takes no affine, which an empty image lacks
            from medimg_cli.annotations import as_points

            self._points = as_points(points or None, self.affine)
        return self._points

    def _take_boxes(self, boxes: Any) -> dict[str, BoundingBoxes]:
        if boxes or self._boxes:
            from medimg_cli.annotations import as_boxes

            self._boxes = as_boxes(boxes or None, self.affine)
        return self._boxes

    def _followed(self, held: dict[str, Any]) -> dict[str, Any]:
        if not held:
            return {}
        from medimg_cli.annotations import follow

        return follow(held, self.affine)

    def _replace_header(self, header: Header) -> None:
        """Take another header; where the affine is corrected, places along voxel axes go with the voxels."""
        before = self.affine if self._points or self._boxes else None
        super()._replace_header(header)
        if before not in (None, header.affine):
            from medimg_cli.annotations import carried

            self._points = {name: carried(each, before, header.affine) for name, each in self._points.items()}
            self._boxes = {name: carried(each, before, header.affine) for name, each in self._boxes.items()}
