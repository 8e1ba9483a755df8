"""Views of one image in a terminal: what is looked at, how keys change that, and the text that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import UsageError
from medimg_cli.expanding import open_named
from medimg_cli.listing import Listing, failed
from medimg_cli.media.terminal import CELL, Protocol, beside, blocks, characters, columns_within, framed, kitty
from medimg_cli.operations.requests import PlaceRequest
from medimg_cli.pipeline import image_name

if TYPE_CHECKING:
    from medimg_cli.formats.reading import Reading
    from medimg_cli.media.frames import Plane, Scene
    from medimg_cli.media.look import Look

__all__ = ["KEYS", "Exhibit", "Screen", "Stance", "Wanted", "show_images"]

#: Columns from which on there is room for three views.
_ROOM = 60
#: Columns of blanks between views.
_GAP = 2
#: Letter towards which slices of each view are counted, and the key of that view.
_TOWARDS = {"sagittal": "R", "coronal": "A", "axial": "S"}
#: How much narrower the window becomes, and how much of it the window moves, at one key.
_NARROWER, _PART = 0.8, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What pictures are shown on.

    Parameters
    ----------
    protocol : str
        "kitty", "blocks" or "characters".
    columns : int
        Width in cells.
    rows : int, optional
        Height; left out where there is no end, as in a file.
    cell : float
        Height of a cell over its width.
    pixels : int
        Width of a cell in pixels.
    all_colours : bool
        Whether there are 24-bit colours.
    """

    protocol: Protocol
    columns: int
    rows: int | None = None
    cell: float = CELL
    pixels: int = 10
    all_colours: bool = True

    @property
    def is_text(self) -> bool:
        """Whether pictures are made of text; letters are then written, not drawn."""
        return self.protocol != "kitty"

    def text(self, picture: Any, columns: int, *, number: int | None = None) -> str:
        """Return a picture as text, ``columns`` wide; `kitty` says what a number is."""
        if self.protocol == "kitty":
            return kitty(picture, columns, number=number)
        if self.protocol == "characters":
            return characters(picture, columns, cell=self.cell)
        return blocks(picture, columns, cell=self.cell, all_colours=self.all_colours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for on a command line.

    Parameters
    ----------
    look : Look
    axis : str, optional
        Letter: one slice across this axis. Left out: the three views.
    at : str, optional
        Where on the axis, as `PlaceRequest` takes it; left out: the middle.
    reading : Reading, optional
        Which image of a source that holds several; not for the overlay.

    Raises
    ------
    UsageError
        If axis or place make no sense, or there is a place and no axis.
    """

    look: Look
    axis: str | None = None
    at: str | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if self.axis is not None:
            PlaceRequest(self.axis, self.at or "50%")  # refuses what is no place
        elif self.at is not None:
            raise UsageError(f"--at {self.at} is a place on no axis", hint="give --axis S, for example")


class Stance(NamedTuple):
    """What is looked at in an image.

    Parameters
    ----------
    view : str
        "sagittal", "coronal" or "axial".
    places : 3 ints
        Slices of these views, counted towards R, A and S.
    channel : int
        Channel or time step.
    window : (low, high), optional
        Values that become black and white; left out: as the look says.
    overlay : bool
        Whether the overlay is drawn.
    """

    view: str
    places: tuple[int, int, int]
    channel: int
    window: tuple[float, float] | None = None
    overlay: bool = True


class Exhibit:
    """An image that is shown, and its scenes: one for each window, with the overlay or without.

    Parameters
    ----------
    path : str
        ``-`` is standard input.
    wanted : Wanted
    screen : Screen
        Only whether it shows text counts.

    Raises
    ------
    MedImgError
        If it cannot be read, or what is wanted does not exist in it.
    """

    def __init__(self, path: str, wanted: Wanted, screen: Screen) -> None:
        from medimg_cli.media.scenes import open_scene

        self.plain = wanted.look.plain
        look = replace(wanted.look, plain=self.plain or screen.is_text)
        backend = open_named(path, wanted.reading)
        self.name = image_name(path, backend.header)
        opened = open_scene(backend, look, path)
        self._first = opened.scene
        self.warnings = (*opened.header.warnings, *opened.remarks)
        self.start = self._stance(wanted)

    def _stance(self, wanted: Wanted) -> Stance:
        """Return what is looked at first: the slice that is asked for, or the middle; of a flat image its plane."""
        scene = self._first
        view = scene.worth_seeing[0].name if self.is_flat else "axial"
        places = [scene.shape[plane.across] // 2 for plane in scene.planes.values()]
        if wanted.axis is not None:
            plane, place = scene.place_at(wanted.axis, wanted.at or "50%")
            view, places[plane.across] = plane.name, self._count(plane, place)
        return Stance(view, (places[0], places[1], places[2]), scene.channel)

    @property
    def is_flat(self) -> bool:
        """Whether it is a picture rather than a volume."""
        return len(self._first.worth_seeing) == 1

    @property
    def has_overlay(self) -> bool:
        """Whether something is drawn over it."""
        return self._first.look.overlay is not None

    def sizes(self) -> tuple[int, int, int, int]:
        """Return the numbers of sagittal, coronal and axial slices and of channels."""
        return (*self._first.shape, self._first.steps)

    def _count(self, plane: Plane, place: int) -> int:
        """Return a slice counted towards R, A or S for one counted along the axis of the scene, and vice versa."""
        return self._first.sweep(_TOWARDS[plane.name])[1][place]

    def limits(self, stance: Stance) -> tuple[float, float] | None:
        """Return the values that become black and white; None where colours are shown."""
        return None if self._first.colour or self._first.labels else self.scene(stance).limits()

    def scene(self, stance: Stance) -> Scene:
        """Return the scene with the channel, window and overlay of a stance."""
        return self._first.under(limits=stance.window, overlay=stance.overlay, channel=stance.channel)

    # -- text ----------------------------------------------------------------------------------------------------------

    def one(self, stance: Stance, screen: Screen, *, number: int | None = None) -> tuple[str, int]:
        """Return one view as text, and how many columns wide it is."""
        scene = self.scene(stance)
        plane = scene.planes[stance.view]
        margin = 2 if screen.is_text and plane.letters and not self.plain else 0
        width, height = scene.extent(plane)
        rows = (screen.rows or screen.columns) - margin
        columns = columns_within(width, height, columns=screen.columns - margin, rows=rows, cell=screen.cell)
        picture = self._picture(stance, plane, columns * (1 if screen.is_text else screen.pixels) / width)
        text = screen.text(picture, columns, number=number)
        return framed(text, columns, plane.letters) if margin else text, columns + margin

    def three(self, stance: Stance, screen: Screen) -> str:
        """Return the sagittal, coronal and axial view side by side, all at one scale."""
        from medimg_cli.media.sheets import Tile, sheet

        scene = self.scene(stance)
        planes = list(scene.planes.values())
        margin = 2 if screen.is_text and all(plane.letters for plane in planes) and not self.plain else 0
        widths, heights = zip(*map(scene.extent, planes), strict=True)
        room = screen.columns - 3 * margin - (2 if screen.is_text else 3) * _GAP
        rows = (screen.rows or screen.columns) - margin
        scale = columns_within(sum(widths), max(heights), columns=room, rows=rows, cell=screen.cell) / sum(widths)
        if not screen.is_text:
            scale *= screen.pixels
            pictures = [self._picture(stance, plane, scale) for plane in planes]
            row = sheet([[Tile(picture) for picture in pictures]])
            return screen.text(row, min(screen.columns, max(1, round(row.width / screen.pixels))))
        columns = [max(1, int(width * scale + 1e-9)) for width in widths]
        texts = []
        for plane, width, count in zip(planes, widths, columns, strict=True):
            text = screen.text(self._picture(stance, plane, count / width), count)
            texts.append(framed(text, count, plane.letters) if margin else text)
        return beside(texts, [count + margin for count in columns], gap=_GAP)

    def _picture(self, stance: Stance, plane: Plane, scale: float) -> Any:
        place = self._count(plane, stance.places[plane.across])
        return self.scene(stance).picture(plane, place, scale=scale)

    # -- words ---------------------------------------------------------------------------------------------------------

    def where(self, stance: Stance) -> str:
        """Say which slice is looked at, where it lies in the world, and which channel it is of."""
        scene = self.scene(stance)
        plane = scene.planes[stance.view]
        number, count = stance.places[plane.across], scene.shape[plane.across]
        place = scene.place_of(plane, self._count(plane, number)) if scene.known else ""
        name = plane.name if scene.known or count > 1 else ""
        which = f"{name} {number} of 0-{count - 1}" if count > 1 else name
        return "  ".join(filter(None, (which, place, self._channel(stance))))

    def through(self, stance: Stance) -> str:
        """Say where the three views lie in the world."""
        scene = self.scene(stance)
        if not scene.known:
            return self._channel(stance)
        places = (scene.place_of(p, self._count(p, stance.places[p.across])) for p in scene.planes.values())
        return "  ".join(filter(None, (", ".join(places), self._channel(stance))))

    def _channel(self, stance: Stance) -> str:
        count = self._first.steps
        return f"{self._first.step_name} {stance.channel} of 0-{count - 1}" if count > 1 else ""

    def manner(self, stance: Stance) -> str:
        """Say how it is shown: convention, window, planes."""
        return ", ".join(filter(None, self.scene(stance).remarks()))

    def still(self, wanted: Wanted, screen: Screen) -> tuple[str, str]:
        """Return the picture that is shown where nobody presses keys, and a caption; "" if the look is plain."""
        single = wanted.axis is not None or screen.columns < _ROOM or self.is_flat
        room = screen if screen.rows is None else replace(screen, rows=max(1, screen.rows - 2))  # caption and prompt
        text = self.one(self.start, room)[0] if single else self.three(self.start, room)
        if screen.protocol == "characters":
            text = "\n".join(line.rstrip() for line in text.split("\n"))
        place = self.where(self.start) if single else self.through(self.start)
        return text, "" if self.plain else "  ".join(filter(None, (self.name, place, self.manner(self.start))))


def show_images(paths: Iterable[str], wanted: Wanted, screen: Screen) -> Iterator[Listing]:
    """Show images one after the other; one that fails never stops the others.

    Yields
    ------
    Listing
        One an image; its record has the ``text`` that shows it, and a ``caption`` in which names are as they are.
    """
    for path in paths:
        try:
            shown = Exhibit(path, wanted, screen)
            text, caption = shown.still(wanted, screen)
            yield Listing(path, ({"path": path, "text": text, "caption": caption},), shown.warnings)
        except Exception as error:
            yield failed("medimg.show/1", path, error)


# -- keys --------------------------------------------------------------------------------------------------------------

Move = Callable[[Stance, Exhibit], Stance]


def _by(count: int) -> Move:
    """Return the move by so many slices towards R, A or S."""

    def move(stance: Stance, shown: Exhibit) -> Stance:
        places = list(stance.places)
        axis = list(_TOWARDS).index(stance.view)
        places[axis] = min(max(places[axis] + count, 0), shown.sizes()[axis] - 1)
        return stance._replace(places=(places[0], places[1], places[2]))

    return move


def _channel(count: int) -> Move:
    """Return the move by so many channels; behind the last one comes the first."""
    return lambda stance, shown: stance._replace(channel=(stance.channel + count) % shown.sizes()[3])


def _view(name: str) -> Move:
    return lambda stance, shown: stance._replace(view=name)


def _window(factor: float, part: float = 0.0) -> Move:
    """Return the move that makes the window wider by a factor, and brighter by a part of its width."""

    def move(stance: Stance, shown: Exhibit) -> Stance:
        limits = shown.limits(stance)
        if limits is None:
            return stance
        width = limits[1] - limits[0]
        centre = (limits[0] + limits[1]) / 2 - part * width
        low, high = centre - width * factor / 2, centre + width * factor / 2
        return stance._replace(window=(low, high)) if isfinite(high - low) and low < high else stance

    return move


def _reset(stance: Stance, shown: Exhibit) -> Stance:
    return shown.start._replace(view=stance.view)


def _overlay(stance: Stance, shown: Exhibit) -> Stance:
    return stance._replace(overlay=not stance.overlay) if shown.has_overlay else stance


_ALL = 1 << 31

KEYS: Mapping[str, Move] = {
    **dict.fromkeys(("up", "k"), _by(1)),
    **dict.fromkeys(("down", "j"), _by(-1)),
    "page up": _by(10),
    "page down": _by(-10),
    "home": _by(_ALL),
    "end": _by(-_ALL),
    **dict.fromkeys(("right", "l"), _channel(1)),
    **dict.fromkeys(("left", "h"), _channel(-1)),
    **dict.fromkeys(("1", "s"), _view("sagittal")),
    **dict.fromkeys(("2", "c"), _view("coronal")),
    **dict.fromkeys(("3", "a"), _view("axial")),
    **dict.fromkeys(("+", "="), _window(_NARROWER)),
    **dict.fromkeys(("-", "_"), _window(1 / _NARROWER)),
    ">": _window(1.0, _PART),
    "<": _window(1.0, -_PART),
    "r": _reset,
    "o": _overlay,
}
"""What each key does to what is looked at; to add one, give it a row."""
