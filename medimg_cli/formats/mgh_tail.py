"""What stands behind the voxels of an MGH file: five numbers of the pulse sequence, then tags.

A tag is a 32-bit number, mostly followed by a 64-bit length and that many bytes (FreeSurfer, ``tags.h``). A
few tags state no length; of these only the colour table is understood, the others end the list and stay as
they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import FormatError, MedImgError, UnsupportedError

if TYPE_CHECKING:
    from medimg_cli.labels import LabelTable

__all__ = ["SEQUENCE", "Tag", "Tail", "build_tail", "parse_tail", "single"]

#: Key-values for the numbers of the pulse sequence, in order; the fifth, the field of view, nobody uses.
SEQUENCE = ("repetition_time_ms", "flip_angle_rad", "echo_time_ms", "inversion_time_ms")
FIELD_STRENGTH = "field_strength_t"
COMMANDS = "command_history"

TAG_COLOR_TABLE, TAG_COMMAND, TAG_OLD_TRANSFORM, TAG_FRAMES, TAG_FIELD = 1, 3, 30, 42, 43
#: Tags without a length: what follows them is of a size that only their content tells.
_LENGTHLESS = frozenset({1, 2, 10, 11, 12, 15, 20})
_MOST_LABELS = 1 << 20


def single(value: float) -> float:
    """Round to the nearest single-precision number, which is what the format stores.

    >>> single(0.1)
    0.10000000149011612
    """
    return float(struct.unpack(">f", struct.pack(">f", value))[0])


class Tag(NamedTuple):
    """One tag: its number, its bytes as they stand in the file, and its content."""

    number: int
    raw: bytes
    content: bytes


class Tail(NamedTuple):
    """What a tail says.

    Parameters
    ----------
    numbers : tuple of float
        TR, flip angle, TE, TI, field of view; as many as there are.
    tags : tuple of Tag
    rest : bytes
        From the first tag on that cannot be understood.
    labels : LabelTable or None
    warnings : tuple of str
    """

    numbers: tuple[float, ...] = ()
    tags: tuple[Tag, ...] = ()
    rest: bytes = b""
    labels: LabelTable | None = None
    warnings: tuple[str, ...] = ()

    @property
    def repetition_time(self) -> float:
        """TR in ms, 0 where it is missing or makes no sense."""
        return self.numbers[0] if self.numbers and isfinite(self.numbers[0]) and self.numbers[0] > 0 else 0.0

    def metadata(self, *, frames: int) -> dict[str, Any]:
        """Return the key-values that the tail holds; TR only where it is no spacing of frames."""
        found: dict[str, Any] = {}
        if self.repetition_time and frames == 1:
            found[SEQUENCE[0]] = self.repetition_time
        for name, value in zip(SEQUENCE[1:], self.numbers[1:], strict=False):
            if value and isfinite(value):
                found[name] = value
        for tag in self.tags:
            if tag.number == TAG_FIELD and len(tag.content) == 4:
                (value,) = struct.unpack(">f", tag.content)
                if value and isfinite(value):
                    found[FIELD_STRENGTH] = value
        commands = [_text(tag.content) for tag in self.tags if tag.number == TAG_COMMAND]
        if any(commands):
            lines = [line for line in commands if line]
            found[COMMANDS] = lines if len(lines) > 1 else lines[0]
        return found


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "replace").rstrip()


def parse_tail(tail: bytes) -> Tail:
    """Take a tail apart; what cannot be understood is kept in ``rest``.

    Parameters
    ----------
    tail : bytes
        All that follows the voxels.
    """
    count = min(len(tail) // 4, 5)
    numbers = struct.unpack(f">{count}f", tail[: 4 * count])
    tags: list[Tag] = []
    labels, warnings = None, []
    at = 20
    while at + 4 <= len(tail):
        number = int.from_bytes(tail[at : at + 4], "big")
        if number == TAG_COLOR_TABLE:
            try:
                labels, end = _parse_colors(tail, at + 4)
            except (struct.error, MedImgError) as error:
                detail = error.message if isinstance(error, MedImgError) else "it is cut off"
                warnings.append(f"the colour table behind the voxels cannot be read: {detail}")
                break
            tags.append(Tag(number, tail[at:end], tail[at + 4 : end]))
        elif number == 0 or number in _LENGTHLESS:
            break
        else:
            width = 4 if number == TAG_OLD_TRANSFORM else 8
            length = int.from_bytes(tail[at + 4 : at + 4 + width], "big", signed=True)
            start, end = at + 4 + width, at + 4 + width + length
            if length < 0 or end > len(tail):
                warnings.append(f"tag {number} behind the voxels is longer than the file")
                break
            tags.append(Tag(number, tail[at:end], tail[start:end]))
        at = end
    return Tail(numbers, tuple(tags), tail[at:] if at < len(tail) else b"", labels, tuple(warnings))


def _parse_colors(tail: bytes, at: int) -> tuple[LabelTable | None, int]:
    """Read a binary colour table (FreeSurfer, ``colortab.cpp``); return it and where it ends.

    The first number is the count of labels in version 1, which numbers them in order, and minus the version
    otherwise. The fourth colour component is transparency.
    """
    from medimg_cli.labels import LabelTable

    (first,) = struct.unpack_from(">i", tail, at)
    at += 4
    if first == -2:
        at += 4  # largest label + 1
    elif first < 0:
        raise UnsupportedError(f"version {-first} is unknown")
    _, at = _string(tail, at)  # the file that it came from
    count = first
    if first == -2:
        (count,) = struct.unpack_from(">i", tail, at)
        at += 4
    if not 0 <= count <= _MOST_LABELS:
        raise FormatError(f"it declares {count} labels")
    rows = []
    for number in range(count):
        value = number
        if first == -2:
            (value,) = struct.unpack_from(">i", tail, at)
            at += 4
        name, at = _string(tail, at)
        red, green, blue, transparency = struct.unpack_from(">4i", tail, at)
        at += 16
        rows.append((value, name, (red, green, blue, 255 - transparency)))
    return LabelTable(rows) if rows else None, at


def _string(tail: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">i", tail, at)
    end = at + 4 + length
    if length < 0 or end > len(tail):
        raise FormatError("a name is longer than the file")
    return _text(tail[at + 4 : end].partition(b"\0")[0]), end


def build_tail(
    old: bytes | None,
    *,
    repetition_time: float,
    metadata: dict[str, Any],
    labels: LabelTable | None,
    view: float,
    frames: bool,
) -> bytes:
    """Return a tail that says what is asked, changing as little as possible of an old one.

    Parameters
    ----------
    old : bytes or None
        Tail of the file that the image came from; None where it came from another format.
    repetition_time : float
        TR in ms, 0 where unknown.
    metadata : dict
        Key-values; those of this module are stored.
    labels : LabelTable or None
    view : float
        Field of view in mm, for a tail that has none.
    frames : bool
        Whether facts about single frames still hold.
    """
    was = parse_tail(old or b"")
    said = was.metadata(frames=1)
    numbers = [0.0] * 4 + [view] if old is None else list(was.numbers)
    wanted = [repetition_time, *(_number(metadata.get(name)) for name in SEQUENCE[1:])]
    for n, value in enumerate(wanted):
        if n < len(numbers):
            old_value = said.get(SEQUENCE[n], 0.0)
            numbers[n] = numbers[n] if old_value == value else value
        elif value:
            numbers += [0.0] * (n - len(numbers)) + [value]
    tags = [tag for tag in was.tags if frames or tag.number != TAG_FRAMES]
    field, commands = _number(metadata.get(FIELD_STRENGTH)), _commands(metadata)
    if _number(said.get(FIELD_STRENGTH)) != field:
        tags = _without(tags, TAG_FIELD)
        if field:
            tags.append(_tag(TAG_FIELD, struct.pack(">f", field)))
    if was.labels != labels:
        tags = _without(tags, TAG_COLOR_TABLE)
        if labels:
            content = _color_bytes(labels)
            tags.append(Tag(TAG_COLOR_TABLE, struct.pack(">i", TAG_COLOR_TABLE) + content, content))
    if _commands(said) != commands:
        tags = _without(tags, TAG_COMMAND) + [_tag(TAG_COMMAND, line.encode() + b"\0") for line in commands]
    if tags or was.rest:
        numbers += [0.0] * (5 - len(numbers))
    return struct.pack(f">{len(numbers)}f", *numbers) + b"".join(tag.raw for tag in tags) + was.rest


def _without(tags: Iterable[Tag], number: int) -> list[Tag]:
    return [tag for tag in tags if tag.number != number]


def _tag(number: int, content: bytes) -> Tag:
    return Tag(number, struct.pack(">iq", number, len(content)) + content, content)


def _number(value: Any) -> float:
    """Return what single precision makes of a key-value, 0 where it is no number that fits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    try:
        value = single(value)
    except OverflowError:
        return 0.0
    return value if isfinite(value) else 0.0


def _commands(metadata: dict[str, Any]) -> list[str]:
    lines = metadata.get(COMMANDS, [])
    lines = [lines] if isinstance(lines, str) else lines
    return [line for line in lines if isinstance(line, str) and line] if isinstance(lines, list) else []


def _color_bytes(labels: LabelTable) -> bytes:
    """Return a binary colour table of version 2; its colours are all there."""
    name = b"medimg\0"
    parts = [struct.pack(">iii", -2, max(labels.values) + 1, len(name)), name, struct.pack(">i", len(labels))]
    for label in labels:
        text = label.name.encode() + b"\0"
        red, green, blue, alpha = label.color or (0, 0, 0, 255)
        parts += [
            struct.pack(">ii", label.value, len(text)),
            text,
            struct.pack(">4i", red, green, blue, 255 - alpha),
        ]
    return b"".join(parts)
