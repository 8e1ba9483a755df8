"""`Film`: a sweep through slices, or through time, and which frames it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from math import ceil, floor, gcd
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import UsageError
from medimg_cli.media.sizes import check_size
from medimg_cli.operations.requests import PlaceRequest

if TYPE_CHECKING:
    from medimg_cli.media.frames import Scene

__all__ = ["FASTEST", "SECONDS", "Advance", "Film", "Roll", "Timetable", "timetable"]

Advance = Callable[[int, int], None]
"""Is told how many steps of a task, or frames of a film, are done, and of how many."""

#: Frames a second that viewers of GIF still show: they count in hundredths of a second, and not below two.
FASTEST = 50
#: How long a film takes where nobody says, and at most, where more shows all slices.
SECONDS, _PATIENCE = 5.0, 8.0
#: Pixels of the longer edge that frames have at least.
_LEAST = 256
#: Rounding that a product of two decimal numbers may show.
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A sweep through the slices of an image, or through the time steps of one slice.

    Parameters
    ----------
    axis : str
        Letter towards which slices follow each other: R, L, A, P, S or I.
    time : bool
        Whether time steps or channels of one slice across this axis are shown instead.
    at : str, optional
        Which slice that is, as `PlaceRequest` takes it; left out: the middle.
    seconds : float, optional
        How long one round takes. Left out: 5, or up to 8 where that shows all places; unless ``fps`` is given.
    fps : float, optional
        Frames a second. Alone: each slice is one frame. With ``seconds``: slices are left out, or shown more than
        once, so that both hold.
    loop : int
        How often GIF and WebP repeat the film; 0: for ever.
    reverse : bool
        Whether it is played backwards.
    bounce : bool
        Whether it goes there and back; the ends are not shown twice.
    size : int, optional
        Pixels of the longer edge of a frame. Left out: one pixel for the smaller of the two voxel sizes, and a whole
        number of times as many where that is less than 256.

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    axis: str = "I"
    time: bool = False
    at: str | None = None
    seconds: float | None = None
    fps: float | None = None
    loop: int = 0
    reverse: bool = False
    bounce: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.axis, str) or self.axis.upper() not in tuple("RLAPSI"):
            raise UsageError(f"direction is {self.axis!r}", hint="give R, L, A, P, S or I")
        if self.at is not None and not self.time:
            raise UsageError(f"at is {self.at!r}: the place of one slice through time", hint="it goes with time")
        PlaceRequest(self.axis, self.at or "50%")  # refuses what is no place
        if self.seconds is not None and not 1 / FASTEST <= self.seconds < 3600:
            raise UsageError(f"seconds is {self.seconds}", hint=f"expected {1 / FASTEST} or more, less than 3600")
        if self.fps is not None and not 0.001 <= self.fps <= FASTEST:
            raise UsageError(f"fps is {self.fps}", hint=f"expected 0.001 to {FASTEST}: viewers show no more")
        if not 0 <= self.loop <= 65534:
            raise UsageError(f"loop is {self.loop}", hint="expected 0 (for ever) to 65534")
        check_size(self.size)


class Timetable(NamedTuple):
    """Which places are shown, and how long.

    Parameters
    ----------
    places : tuple of int
        One for each frame, counted along the sweep.
    seconds : float
        How long all frames take; each takes the same time.
    left_out : int
        How many places are never shown.
    """

    places: tuple[int, ...]
    seconds: float
    left_out: int

    @property
    def rate(self) -> Fraction:
        """Frames a second, as a fraction that encoders accept."""
        return (len(self.places) / Fraction(self.seconds)).limit_denominator(100_000)

    def lasts(self, unit: int) -> list[int]:
        """Return how long each frame lasts, in parts of a second; the sum is as exact as these are.

        Examples
        --------
        >>> Timetable((0, 1, 2), 1.0, 0).lasts(100)
        [33, 34, 33]
        """
        ends = [round(unit * self.seconds * n / len(self.places)) for n in range(len(self.places) + 1)]
        return [end - start for start, end in pairwise(ends)]


def timetable(count: int, film: Film) -> Timetable:
    """Return which of ``count`` places along a sweep a film shows, and in which order.

    With ``seconds`` all places are shown in that time; where this were more than 50 frames a second, only every second,
    third ... place is. With nothing the time is 5 seconds, or what it takes for all of them, up to 8. With ``fps``, all
    places are shown at that rate. With both, as many frames as fill the time are taken evenly from the round.

    Examples
    --------
    >>> timetable(4, Film(bounce=True))
    Timetable(places=(0, 1, 2, 3, 2, 1), seconds=5.0, left_out=0)
    >>> timetable(4, Film(fps=2, reverse=True))
    Timetable(places=(3, 2, 1, 0), seconds=2.0, left_out=0)
    >>> timetable(120, Film(seconds=1)).places[:4]
    (0, 3, 6, 9)
    >>> timetable(4, Film(seconds=2, fps=4)).places
    (0, 0, 1, 1, 2, 2, 3, 3)
    """
    step = 1
    if film.fps is None:
        most = max(1, floor(FASTEST * (film.seconds or _usual(count, film)) + _TINY))
        step = ceil(count / (most // 2 + 1 if film.bounce else most))
    there = list(range(0, count, step))[:: -1 if film.reverse else 1]
    around = there + there[-2:0:-1] if film.bounce else there
    seconds = film.seconds or (_usual(count, film) if film.fps is None else len(around) / film.fps)
    if film.fps is not None and film.seconds is not None:
        frames = max(1, floor(film.seconds * film.fps + _TINY))
        around = [around[n * len(around) // frames] for n in range(frames)]
    return Timetable(tuple(around), seconds, count - len(set(around)))


def _usual(count: int, film: Film) -> float:
    """Return how long a film takes where nobody says: a little longer where all places are then shown.

    >>> _usual(100, Film()), _usual(256, Film()), _usual(256, Film(bounce=True))
    (5.0, 5.12, 5.0)
    """
    needed = (2 * count - 2 if film.bounce else count) / FASTEST
    return max(needed, SECONDS) if needed <= _PATIENCE else SECONDS


class Roll:
    """The frames of a film of a scene, each drawn when it is asked for.

    Parameters
    ----------
    scene : Scene
    film : Film

    Raises
    ------
    UsageError
        If the slice lies outside the image, or there is no time in it.
    """

    def __init__(self, scene: Scene, film: Film) -> None:
        self.scene = scene
        self._plane, self._path = scene.sweep(film.axis)
        self._slice: int | None = None
        if film.time:
            if scene.steps < 2:
                raise UsageError("there is no second time step or channel", hint="leave out time")
            self._plane, self._slice = scene.place_at(film.axis, film.at or "50%")
            self._path = range(scene.steps)
        self.table = timetable(len(self._path), film)
        self._scale = scene.scale(self._plane, size=film.size, least=_LEAST)

    def __len__(self) -> int:
        return len(self.table.places)

    def __iter__(self) -> Iterator[Any]:
        return self._drawn(self.table.places)

    def some(self, count: int) -> Iterator[Any]:
        """Draw at most so many frames, from all parts of the film."""
        places = sorted(set(self.table.places))
        step = ceil(len(places) / count)
        return self._drawn(places[(len(places) - 1) % step // 2 :: step])

    def _drawn(self, places: Sequence[int]) -> Iterator[Any]:
        scene, plane = self.scene, self._plane
        path = [self._path[place] for place in places]
        if self._slice is not None:
            for channel, same in groupby(path):
                picture = scene.under(channel=channel).picture(plane, self._slice, scale=self._scale)
                yield from (picture for _ in same)
            return
        for span, part in _stretches(path):
            drawn = zip(span, scene.pictures(plane, span, scale=self._scale), strict=True)
            at, picture = next(drawn)
            for place in part:
                while at != place:
                    at, picture = next(drawn)
                yield picture


def _stretches(places: Sequence[int]) -> Iterator[tuple[range, Sequence[int]]]:
    """Split a sweep where it turns round; yield each part, and the even steps on which all its places lie.

    >>> list(_stretches([0, 2, 4, 2]))
    [(range(0, 5, 2), [0, 2, 4]), (range(2, 3), [2])]
    >>> list(_stretches([9, 9, 6, 4]))
    [(range(9, 3, -1), [9, 9, 6, 4])]
    """
    start, sign = 0, 0
    for n in range(1, len(places) + 1):
        move = places[n] - places[n - 1] if n < len(places) else 0
        if n == len(places) or move * sign < 0:
            part = places[start:n]
            sign = sign or 1
            step = gcd(*(b - a for a, b in pairwise(part))) or 1
            yield range(part[0], part[-1] + sign, step * sign), part
            start, sign = n, 0
        else:
            sign = sign or (move > 0) - (move < 0)
