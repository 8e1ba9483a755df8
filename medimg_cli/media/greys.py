"""`Greys`: the grey levels of each channel of a volume, found when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medimg_cli.dtypes import is_complex
from medimg_cli.media.window import Shades, WindowRule, inverted, window_of
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from medimg_cli.operations.slicing import Slice
from medimg_cli.statistics.counts import value_range

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["Greys"]

#: Slices, volumes and values that are looked at to find a window for all.
_SLICES, _VOLUMES, _VALUES = 16, 4, 1 << 18


class Greys:
    """How the values of a volume become grey.

    Steps of a time series share one window, for signals that change are what they are looked at for; volumes of
    diffusion and other channels have one each.

    Parameters
    ----------
    volume : Backend
    rule : WindowRule
    limits : (low, high), optional
        Values that become black and white in all channels, whatever the rule says.
    """

    def __init__(self, volume: Backend, rule: WindowRule, limits: tuple[float, float] | None = None) -> None:
        header = volume.header
        self._volume, self._rule = volume, rule
        self._common = limits is not None or (header.gradients is None and "time" in dict(header.axes))
        self.inverted = inverted(header)
        self._shades = {0: Shades(limits, inverted=self.inverted)} if limits is not None else {}
        self._samples: dict[int, np.ndarray[Any, Any]] = {}

    def fixed(self, limits: tuple[float, float]) -> Greys:
        """Return the grey levels of the same volume between other values."""
        return Greys(self._volume, self._rule, limits)

    def of(self, channel: int) -> Shades:
        """Return the grey levels of a channel."""
        channel = 0 if self._common else channel
        if channel not in self._shades:
            header = self._volume.header
            limits = self._rule.limits(header, lambda: self.sample(channel), lambda: self._extremes(channel))
            self._shades[channel] = Shades(limits, inverted=self.inverted)
        return self._shades[channel]

    def sample(self, channel: int) -> np.ndarray[Any, Any]:
        """Return some of the values from which the window of a channel is found."""
        channel = 0 if self._common else channel
        if channel not in self._samples:
            self._samples[channel] = self._read(channel)
        return self._samples[channel]

    def _read(self, channel: int) -> np.ndarray[Any, Any]:
        """Return values of some slices across the longest axis, the same for all storages and both conventions."""
        volume = apply(Reorient("LPI"), self._volume)
        count, *shape = volume.header.shape
        axis = max(range(3), key=lambda a: shape[a])
        step = -(-shape[axis] // _SLICES)
        spans = [range(size) for size in shape]
        spans[axis] = range(min(step // 2, shape[axis] - 1), shape[axis], step)
        channels = range(0, count, -(-count // _VOLUMES)) if self._common else range(channel, channel + 1)
        found = volume.read((channels, spans[0], spans[1], spans[2])).ravel()
        return found[:: -(-found.size // _VALUES)]

    def _extremes(self, channel: int) -> tuple[float, float]:
        """Return the smallest and the largest of all values."""
        volume = self._volume
        if is_complex(volume.header.value_dtype):
            return window_of(self.sample(channel), (0, 100))
        if not self._common:
            volume = apply(Slice.of((channel,), volume.header.shape), volume)
        found = value_range(volume)
        return (0.0, 1.0) if found.low is None or found.high is None else (float(found.low), float(found.high))
