"""The one neutral record of what a file says about an image.

Every codec fills a :class:`Header`, every writer reads one. Nothing here touches voxels, and nothing here
knows a format: what only one format can say stays in :attr:`Header.native`, an opaque value that a codec of
the same family starts from when it writes, so that a copy within a family keeps every bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from medimg_cli.dtypes import ITEMSIZE, scaled_dtype
from medimg_cli.errors import GeometryError

if TYPE_CHECKING:
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.grid import Grid
    from medimg_cli.labels import LabelTable

__all__ = ["HINTS", "Difference", "Gradients", "Header", "Native", "differences"]


class Native(NamedTuple):
    """The raw header of one file, understood only by codecs of its ``family``.

    Parameters
    ----------
    family : str
        Which codecs may read ``data``: "nifti", "mgh", "nrrd" ...
    data : object
        Anything that pickles: bytes, or a mapping of fields.
    """

    family: str
    data: Any


class Gradients(NamedTuple):
    """Diffusion weighting, one entry per channel.

    Parameters
    ----------
    bvals : tuple of float, (N,)
        b-values in s/mm2.
    bvecs : tuple of (float, float, float), (N, 3)
        Directions in FSL's convention: along the voxel axes of the image, the first component negated where
        the affine has a positive determinant.
    """

    bvals: tuple[float, ...]
    bvecs: tuple[tuple[float, float, float], ...]

    def turned(self, before: AffineMatrix, voxel_map: AffineMatrix, after: AffineMatrix) -> Gradients:
        """Return the same directions in the voxel axes of another grid.

        Parameters
        ----------
        before, after : AffineMatrix
            Affines of the two grids.
        voxel_map : AffineMatrix
            New voxel -> old voxel.
        """
        old, new = before.spacing, after.spacing
        turn = [[voxel_map[i, j] * old[i] / new[j] for j in range(3)] for i in range(3)]
        turn = [[float(round(x)) if abs(x - round(x)) < 1e-9 else x for x in row] for row in turn]
        flip_old = -1.0 if before.determinant > 0 else 1.0
        flip_new = -1.0 if after.determinant > 0 else 1.0
        turned = []
        for x, y, z in self.bvecs:
            vector = (flip_old * x, y, z)
            a, b, c = (sum(turn[i][j] * vector[i] for i in range(3)) + 0.0 for j in range(3))
            turned.append((flip_new * a + 0.0, b, c))
        return Gradients(self.bvals, tuple(turned))

    def under(self, before: AffineMatrix, after: AffineMatrix) -> Gradients:
        """Return the same directions along the voxel axes where an affine is replaced and no voxel moves.

        FSL negates the first component by the sign of the determinant, so it changes where that does.

        >>> from medimg_cli.affine import AffineMatrix
        >>> ras, las = AffineMatrix(), AffineMatrix([[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        >>> Gradients((0.0, 1000.0), ((0.0, 0.0, 0.0), (0.6, 0.8, 0.0))).under(ras, las).bvecs[1]
        (-0.6, 0.8, 0.0)
        """
        if (before.determinant > 0) == (after.determinant > 0):
            return self
        return Gradients(self.bvals, tuple((0.0 - x, y, z) for x, y, z in self.bvecs))

    def picked(self, channels: range) -> Gradients:
        """Return the entries of some channels."""
        return Gradients(tuple(self.bvals[c] for c in channels), tuple(self.bvecs[c] for c in channels))


class GridStep(Protocol):
    """What :meth:`Header.follow` needs to know of an operation that was applied."""

    @property
    def voxel_map(self) -> AffineMatrix: ...
    @property
    def grid_after(self) -> Grid: ...
    def to_json(self) -> dict[str, Any]: ...


class _Fields(NamedTuple):
    shape: tuple[int, int, int, int]
    dtype: str
    affine: AffineMatrix
    format: str = ""
    compression: str | None = None
    axes: tuple[tuple[str, int], ...] = ()
    ndim: int = 3
    byte_order: str = "little"
    slope: float | None = None
    inter: float | None = None
    affine_source: str = ""
    sform: AffineMatrix | None = None
    sform_code: int | None = None
    qform: AffineMatrix | None = None
    qform_code: int | None = None
    space_units: str | None = None
    time_units: str | None = None
    time_spacing: float | None = None
    intent: str | None = None
    intent_params: tuple[float, ...] = ()
    intent_name: str = ""
    description: str = ""
    gradients: Gradients | None = None
    labels: LabelTable | None = None
    metadata: Mapping[str, Any] = {}
    history: tuple[dict[str, Any], ...] = ()
    extensions: tuple[tuple[int, bytes], ...] = ()
    warnings: tuple[str, ...] = ()
    native: Native | None = None
    file_bytes: int | None = None


class Header(_Fields):
    """What a file says about its image, in one vocabulary for all formats.

    Parameters
    ----------
    shape : tuple of int, (C, I, J, K)
        Channels (the product of all non-spatial axes) and voxels along the three spatial axes; each at least
        1.
    dtype : str
        Stored type, NumPy's name without byte order.
    affine : AffineMatrix
        Voxel (i, j, k) -> world, RAS+ in mm.
    format, compression : str
        Name of the format; "gzip", "bzip2", "zstd", "xz", "zlib" or None.
    axes : tuple of (kind, size)
        Non-spatial axes in order, first fastest in C: "time", "channel", "vector", and last "rgb". Empty: one
        channel that no axis of the file stands for.
    ndim : int
        How many spatial axes the file itself declares (1, 2 or 3).
    byte_order : str
        "little" or "big".
    slope, inter : float or None
        value = stored * slope + inter; None where nothing scales.
    affine_source : str
        Where the affine comes from: "sform", "qform", "pixdim", or the format's own word.
    sform, sform_code, qform, qform_code
        The two forms of NIfTI with their codes; None where the format has none.
    space_units, time_units : str or None
        Units as the file states them, before conversion to mm and s.
    time_spacing : float or None
        Seconds between two steps on the time axis.
    intent, intent_params, intent_name
        Meaning of the values: name of the NIfTI intent in lower case, its parameters, its free text.
    description : str
        Free text.
    gradients, labels
        Diffusion gradients; names and colours of the labels.
    metadata : mapping
        Key-values, JSON-able.
    history : tuple of dict
        Operations applied so far, oldest first, JSON-able.
    extensions : tuple of (code, bytes)
        NIfTI extensions, verbatim.
    warnings : tuple of str
        What a careful reader should know; one sentence each.
    native : Native or None
        The raw header, for codecs of the same family.
    file_bytes : int or None
        Size of the file or files.

    Notes
    -----
    Fields go by name only. A named tuple rather than a dataclass: it is made six times as fast when ``medimg info``
    starts.
    """

    __slots__ = ()

    def __new__(cls, **fields: Any) -> Header:
        fields.setdefault("metadata", {})
        self = super().__new__(cls, **fields)
        _check_shape(self.shape)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._asdict(),)

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """Voxels along I, J, K."""
        return self.shape[1:]

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return self.shape[0]

    @property
    def grid(self) -> Grid:
        """Spatial shape and affine."""
        from medimg_cli.grid import Grid

        return Grid(self.shape[1:], self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along I, J, K in mm."""
        return self.affine.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """World coordinates of the centre of voxel (0, 0, 0) in mm."""
        return self.affine.origin

    @property
    def orientation(self) -> tuple[str, str, str]:
        """Letters of where each voxel axis runs to."""
        return self.affine.orientation

    @property
    def orientation_known(self) -> bool:
        """Whether the file says how its axes lie in the patient: more than voxel sizes, or nothing at all."""
        return self.affine_source not in _NO_ORIENTATION and not self.affine.is_singular

    @property
    def itemsize(self) -> int:
        """Bytes of one stored value."""
        return ITEMSIZE[self.dtype]

    @property
    def data_bytes(self) -> int:
        """Bytes of all stored values, uncompressed."""
        c, i, j, k = self.shape
        return c * i * j * k * ITEMSIZE[self.dtype]

    @property
    def scaled(self) -> bool:
        """Whether values differ from stored numbers."""
        return self.slope is not None and (self.slope, self.inter or 0.0) != (1.0, 0.0)

    @property
    def value_dtype(self) -> str:
        """Type of the values: what ``read(raw=False)`` gives."""
        return scaled_dtype(self.dtype) if self.scaled else self.dtype

    @property
    def value_bytes(self) -> int:
        """Bytes that all values take in memory."""
        return self.data_bytes // ITEMSIZE[self.dtype] * ITEMSIZE[self.value_dtype]

    def replace(self, **changes: Any) -> Header:
        """Return a copy with some fields changed."""
        if "shape" in changes:
            _check_shape(changes["shape"])
        return self._replace(**changes)

    def warn(self, *sentences: str) -> Header:
        """Return a copy with warnings added, each once."""
        new = tuple(s for s in sentences if s not in self.warnings)
        return self._replace(warnings=self.warnings + new) if new else self

    def channel_axes(self) -> tuple[tuple[str, int], ...]:
        """Return the axes, with a plain channel axis where ``axes`` is empty and C is not 1."""
        return self.axes or ((("channel", self.shape[0]),) if self.shape[0] > 1 else ())

    def with_channels(self, channels: range) -> Header:
        """Return the header of some channels: axes, gradients and TR follow.

        A selection that splits two axes becomes one plain channel axis, except where it is a box in them.
        """
        if channels == range(self.shape[0]):
            return self
        count = len(channels)
        gradients = self.gradients.picked(channels) if self.gradients else None
        picked = _picked(self.axes, channels) if self.axes else None
        axes: tuple[tuple[str, int], ...]
        if picked is None:
            axes = (("channel", count),) if count > 1 else ()
        elif len(self.axes) == 1 and self.axes[0][0] != "rgb":
            axes = ((self.axes[0][0], count),)
        else:
            axes = _still(self.axes, picked)
        spacing = self.time_spacing
        if spacing is not None:
            time = next((span for axis, span in zip(self.axes, picked or (), strict=False) if axis[0] == "time"), None)
            if time is None or not any(kind == "time" for kind, _ in axes):
                spacing = None
            elif len(time) > 1:
                spacing = spacing * abs(time.step)
        kept = self
        if "vector" in dict(self.axes) and "vector" not in dict(axes):  # single components are no vectors
            kept = self._replace(intent=None, intent_params=(), intent_name="")
        return kept._replace(shape=(count, *self.shape[1:]), axes=axes, gradients=gradients, time_spacing=spacing)

    def with_forms_of(self, other: Header) -> Header:
        """Return the header with both NIfTI forms of another one, their codes, and which of them is in use."""
        names = ("sform", "sform_code", "qform", "qform_code", "affine_source")
        return self._replace(**{name: getattr(other, name) for name in names})

    def follow(self, step: GridStep) -> Header:
        """Return the header after an operation that moved voxels.

        The affine and both NIfTI forms move by the step's voxel map, gradients turn, the step joins the
        history, and with it how this header told of its grid: `operations.history.as_before` restores that. A form
        that was the affine stays the affine; a sheared one is the sform.

        Parameters
        ----------
        step : GridStep
            Its ``voxel_map`` (new voxel -> old voxel), its ``grid_after`` and its JSON form.
        """
        move, after = step.voxel_map, step.grid_after
        turned = self.gradients.turned(self.affine, move, after.affine) if self.gradients else None

        def moved(form: AffineMatrix | None) -> AffineMatrix | None:
            return after.affine if form == self.affine else form and form @ move

        forms: dict[str, Any] = {"sform": moved(self.sform), "qform": moved(self.qform)}
        if self.affine_source == "qform" and after.affine.is_sheared:  # which a quaternion does not hold
            forms = {"sform": after.affine, "sform_code": self.qform_code, "qform": None, "qform_code": 0}
            forms["affine_source"] = "sform"
        return self._replace(
            shape=(self.shape[0], *after.shape),
            ndim=3 if max(after.shape[self.ndim :], default=1) > 1 else self.ndim,
            affine=after.affine,
            **forms,
            gradients=turned,
            metadata=_moved_hints(self.metadata, self.shape[1:], move, after.shape),
            history=(*self.history, self._remembered(step.to_json())),
        )

    def _remembered(self, step: dict[str, Any]) -> dict[str, Any]:
        """Return a step with what this header says of its grid beside the affine."""
        told: dict[str, Any] = {"channels": self.channels} if self.channels > 1 else {}
        if self.sform_code is not None or self.qform_code is not None:
            for name in ("sform", "qform"):
                form = getattr(self, name)
                told[name] = None if form is None else [list(row) for row in form.rows[:3]]
                told[f"{name}_code"] = getattr(self, f"{name}_code")
            told["affine_source"] = self.affine_source
        hints = {name: self.metadata[name] for name in HINTS if name in self.metadata}
        if hints:
            told["metadata"] = hints
        if self.ndim != 3:
            told["ndim"] = self.ndim
        return {**step, "header_before": told} if told else step


def _picked(axes: tuple[tuple[str, int], ...], channels: range) -> tuple[range, ...] | None:
    """Return which steps of each axis some channels are, None where they are no box in the axes.

    >>> _picked((("time", 4), ("rgb", 3)), range(4, 8)), _picked((("time", 4), ("rgb", 3)), range(2, 6))
    ((range(0, 4), range(1, 2)), None)
    """
    if len(axes) == 1:
        return (channels,)
    spans, places = [], list(channels)
    for _, size in axes:
        steps = list(dict.fromkeys(place % size for place in places))
        step = steps[1] - steps[0] if len(steps) > 1 else 1
        span = range(steps[0], steps[0] + step * len(steps), step)
        if list(span) != steps or len(places) % len(steps):
            return None
        rest = [place // size for place in places[:: len(steps)]]
        if [place * size + each for place in rest for each in span] != places:
            return None
        spans.append(span)
        places = rest
    return tuple(spans)


def _still(axes: tuple[tuple[str, int], ...], spans: tuple[range, ...]) -> tuple[tuple[str, int], ...]:
    """Return axes of which only some steps are left: colours that are not all there, in order, are colours no more."""
    found = []
    for (kind, size), span in zip(axes, spans, strict=True):
        kind = "channel" if kind == "rgb" and span != range(size) else kind
        if len(span) > 1 or kind == "time":
            found.append((kind, len(span)))
    return tuple(found)


def _rebuild(fields: dict[str, Any]) -> Header:
    return Header(**fields)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or min(shape) < 1:
        raise GeometryError(f"shape {shape} has an axis without voxels")


#: Key-values in which NIfTI speaks of voxel axes.
HINTS = ("nifti_dim_info", "nifti_slice_code", "nifti_slice_start", "nifti_slice_end")

#: NIfTI slice orders that turn into each other when the slice axis is flipped (nifti1.h, slice_code).
_REVERSED_SLICES = {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5}


def _moved_hints(
    metadata: Mapping[str, Any], old: tuple[int, ...], move: AffineMatrix, new: tuple[int, ...]
) -> Mapping[str, Any]:
    """Move what NIfTI says of axes (``dim_info``, slice order) along with the axes; drop what no longer holds.

    Parameters
    ----------
    old, new : (I, J, K)
        Shapes before and after.
    move : AffineMatrix
        New voxel -> old voxel.
    """
    info = int(metadata.get("nifti_dim_info", 0) or 0)
    if not info and "nifti_slice_code" not in metadata:
        return metadata
    moved = dict(metadata)
    along = [max(range(3), key=lambda n: abs(move[axis, n])) for axis in range(3)]  # old axis -> new axis
    if info:
        parts = [info & 3, info >> 2 & 3, info >> 4 & 3]  # frequency, phase, slice: 1 to 3, 0 unknown
        parts = [along[part - 1] + 1 if part else 0 for part in parts]
        moved["nifti_dim_info"] = parts[0] | parts[1] << 2 | parts[2] << 4
    axis = (info >> 4 & 3) - 1 if info >> 4 & 3 else 2
    step = move[axis, along[axis]]
    names = HINTS[1:]
    if abs(step) != 1 or old[axis] != new[along[axis]] or move[axis, 3] != (0 if step > 0 else old[axis] - 1):
        for name in names:
            moved.pop(name, None)
    elif step < 0 and "nifti_slice_code" in moved:
        code, start, end = (int(moved.get(name, 0) or 0) for name in names)
        end = end or old[axis] - 1  # 0 where nobody said it: all slices
        values = (_REVERSED_SLICES.get(code, code), old[axis] - 1 - end, old[axis] - 1 - start)
        moved.update({name: value for name, value in zip(names, values, strict=True) if value})
        for name, value in zip(names, values, strict=True):
            if not value:
                moved.pop(name, None)
    return moved


class Difference(NamedTuple):
    """One field in which two headers differ.

    Parameters
    ----------
    field : str
        Name of the field.
    before, after : object
        Its two values.
    note : str
        The sentence for people.
    """

    field: str
    before: Any
    after: Any
    note: str

    def __str__(self) -> str:
        return self.note


#: Where an affine comes from that holds voxel sizes at most.
_NO_ORIENTATION = frozenset({
    *("picture", "default", "pixdim", "none", "spacings", "unnamed space", "ElementSpacing", "scale"),
    *("tiff", "gipl", "vtk"),
})  # fmt: skip
#: Facts about the container, not about the image; and facts told by other fields.
_NO_DIFFERENCE = frozenset({"format", "compression", "byte_order", "warnings", "native", "file_bytes", "ndim"})
_MATRICES = frozenset({"affine", "sform", "qform"})
_DERIVED = frozenset({"affine_source", "space_units", "time_units"})


def differences(before: Header, after: Header, *, tolerance: float = 1e-3) -> tuple[Difference, ...]:
    """List the neutral facts in which two headers differ.

    Parameters
    ----------
    before, after : Header
        What is, and what would be.
    tolerance : float
        Millimetres that a corner of the grid may move, and relative error of other numbers times 1e-3.

    Returns
    -------
    tuple of Difference
        Empty where nothing differs. Byte order, compression and the raw header are facts of a container and
        never listed.
    """
    found = []
    for name in Header._fields:
        if name in _NO_DIFFERENCE or name in _DERIVED:
            continue
        a, b = getattr(before, name), getattr(after, name)
        if a is b or _same(name, a, b, before, tolerance):
            continue
        found.append(Difference(name, a, b, _sentence(name, a, b, before)))
    return tuple(found)


def _same(name: str, a: Any, b: Any, header: Header, tolerance: float) -> bool:
    if name == "axes":
        return _plain(header.channel_axes()) == _plain(b or header.replace(axes=()).channel_axes())
    if name in ("slope", "inter"):
        neutral = 1.0 if name == "slope" else 0.0
        a, b = (neutral if value is None else value for value in (a, b))
        return abs(a - b) <= 1e-6 * max(abs(a), abs(b))  # slopes of NIfTI-1 have 24 bits
    if name in ("sform_code", "qform_code"):
        return (a or 0) == (b or 0)
    if name in _MATRICES and a is not None and b is not None:
        return bool(_shift(a, b, header) <= tolerance)
    if name in ("sform", "qform"):
        return _says_nothing(a if b is None else b, getattr(header, f"{name}_code") if b is None else 1, header)
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-3 * tolerance * max(abs(a), abs(b))
    if name == "gradients" and a is not None and b is not None:
        return _close(a.bvals, b.bvals) and all(_close(u, v) for u, v in zip(a.bvecs, b.bvecs, strict=True))
    if name == "intent_params":
        return _close(a, b)
    if name == "metadata":
        return dict(a) == dict(b)
    if name == "extensions":  # null characters fill them up to a multiple of 16 bytes
        return [(code, text.rstrip(b"\0")) for code, text in a] == [(code, text.rstrip(b"\0")) for code, text in b]
    return bool(a == b)


def _shift(a: AffineMatrix, b: AffineMatrix, header: Header) -> float:
    """Return how far the corners move, in mm; a single slice has a thickness, too."""
    i, j, k = (max(size, 2) for size in header.shape[1:])
    return a.mm_shift(b, (i, j, k))


def _says_nothing(form: AffineMatrix, code: int | None, header: Header) -> bool:
    """Tell whether a form that only one of two headers has adds nothing: it is not in use, or it is the affine."""
    return not code or form.mm_shift(header.affine, header.shape[1:]) <= 1e-3


def _plain(axes: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Leave out axes of one step: they say nothing about voxels."""
    return tuple(axis for axis in axes if axis[1] != 1)


def _close(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) == len(b) and all(
        x == y or (x != x and y != y) or abs(x - y) <= 1e-5 * max(1.0, abs(x)) < float("inf")
        for x, y in zip(a, b, strict=True)
    )


def _steps(count: int) -> str:
    return "none" if not count else f"{count} step{'s' if count > 1 else ''}"


def _sentence(name: str, a: Any, b: Any, header: Header) -> str:
    """Say one difference as a user would want to read it."""
    title = name.replace("_", " ")
    if name in _MATRICES and a is not None and b is not None:
        return f"{title}: moves by {_shift(a, b, header):.4g} mm"
    if name in _MATRICES or name == "gradients":
        return f"{title}: {'dropped' if b is None else 'added'}"
    if name == "labels":
        return f"label table: {'dropped' if b is None else 'changed'} ({len(a or b)} labels)"
    if name == "history":
        return f"history: {_steps(len(a))} -> {_steps(len(b))}"
    if name == "extensions":
        return f"extensions: {len(a)} before, {len(b)} after"
    if name == "metadata":
        keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
        shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
        return f"key-values: {'dropped' if not b else 'changed'}: {shown}"
    return f"{title}: {_shown(a)} -> {_shown(b)}"


def _shown(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return " x ".join(f"{kind} {size}" for kind, size in value)
    return str(value)
