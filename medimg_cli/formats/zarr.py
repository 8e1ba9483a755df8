"""NIfTI-Zarr and OME-Zarr, Zarr versions 2 and 3: folders, URLs, and store objects of the zarr library.

Metadata and chunks are read here: ``medimg info`` needs neither zarr nor NumPy, a region reads its chunks and no
others, and nothing in a store names code to run. The zarr library is the referee of the tests.

- NIfTI-Zarr (specification 1.0.rc1): the array ``nifti`` holds the raw NIfTI header, which takes precedence over what
  OME says; its sizes must be those of the array. Axes are (t, c, z, y, x) of NIfTI's (x, y, z, t, c).
- OME-Zarr: see :mod:`medimg_cli.formats.zarr_ome`, also for the decision on orientation. Level 0 is read, another one
  where the folder of its array is named, as in ``x.zarr/1``.
- A plain Zarr array is read with spacing 1; its axes by name where it has names, else (t, c, z, y, x) from the right.
- A chunk that is not there has the fill value, as Zarr says; the header counts them in a warning. Where next to none
  of the chunks are there an image of more than a gigabyte is not read as a whole.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, Buffer, blocks_by_region
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    MedImgError,
    OversizeError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats.foreign import ForeignBackend, check_shape
from medimg_cli.formats.zarr_chunks import Chunks, cuts
from medimg_cli.formats.zarr_metadata import ArrayFacts, GroupFacts, fill_value, read_node
from medimg_cli.formats.zarr_ome import Multiscale, channel_names, label_table, multiscale, only_image, plain_axes
from medimg_cli.formats.zarr_store import LocalStore, Store, Within, open_store
from medimg_cli.header import Gradients, Header, Native
from medimg_cli.storage.stored import Layout, Region
from medimg_cli.storage.threads import cores, in_order

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.storage.atomic_folder import StagedFolder
    from medimg_cli.storage.source import ByteSource

__all__ = ["ZarrBackend", "fit", "is_store", "native_fields", "open", "open_folder", "write_folder"]

#: Bytes of voxels that are read whatever is there; how many times what is there more are; where nobody can count.
_SMALL, _SPARSE, _UNCOUNTED = 1 << 30, 1000, 1 << 44
#: Bytes of decoded chunks that a stream keeps where volumes share them.
_KEPT = 1 << 28
#: Bytes of a row of chunks that a stream holds at a time.
_ROW = 1 << 26


def open_folder(source: Any, *, level: int = 0) -> Backend:
    """Open a Zarr store: read its metadata, none of its voxels.

    Parameters
    ----------
    source : str, path-like, URL, or a store, group or array of the zarr library
    level : int
        Which array of a multiscale image, 0 is the finest.

    Raises
    ------
    FormatError
        If metadata are missing or contradict each other.
    UnsupportedError
        If it holds several images, or needs a codec that is not among those that are allowed.
    UsageError
        If there is no such level.
    """
    store = open_store(source)
    try:
        node = read_node(store)
        if node is None:
            raise FormatError("is no Zarr store: neither zarr.json nor .zgroup nor .zarray is there")
        if isinstance(node, ArrayFacts):
            above = _above(store)
            if above is not None and level == 0:
                return _open_group(*above)
            return _open_image(store, node, _single(node), level)
        only_image(node.attributes, store.name)
        return _open_group(store, node, level)
    except MedImgError as error:
        raise error.at(store.name) from None


def open(source: ByteSource, compression: str | None) -> Backend:
    """Refuse a file: a Zarr store is a folder.

    Raises
    ------
    UnsupportedError
        Always.
    """
    raise UnsupportedError("is a file, a Zarr store is a folder", path=source.name, hint="unpack it")


def _above(store: Store) -> tuple[Store, GroupFacts, int] | None:
    """Return the multiscale image that an array is a level of."""
    if isinstance(store, LocalStore):
        folder, name = os.path.split(store.path)
        parent: Store = LocalStore(folder)
    elif isinstance(store, Within):
        folder, _, name = store.prefix.rpartition("/")
        parent = Within(store.base, folder) if folder else store.base
    else:
        return None
    try:
        node = read_node(parent)
        image = multiscale(node.attributes) if isinstance(node, GroupFacts) else None
    except MedImgError:
        return None
    if image is None or name not in image.paths or not isinstance(node, GroupFacts):
        return None
    return parent, node, image.paths.index(name)


def _open_group(store: Store, group: GroupFacts, level: int) -> Backend:
    image = multiscale(group.attributes)
    first = read_node(store, "0", group.version) if image is None else None
    if isinstance(first, ArrayFacts):
        image = _single(first)
    if image is None:
        raise FormatError("is a Zarr group without 'multiscales': no OME-Zarr image", hint="name an array inside")
    if not 0 <= level < len(image.paths):
        raise UsageError(f"there is no level {level}", hint=f"levels are 0 to {len(image.paths) - 1}")
    facts = read_node(store, image.paths[level], group.version)
    if not isinstance(facts, ArrayFacts):
        raise FormatError(f"its array {image.paths[level]!r} is missing")
    return _open_image(store, facts, image, level, group)


def _single(facts: ArrayFacts) -> Multiscale:
    """Return what can be said of an array that no metadata describe."""
    count = len(facts.shape)
    if not 1 <= count <= 5 and not facts.names:
        raise FormatError(f"an array of {count} axes without names is no image")
    axes = plain_axes(facts.names or "tczyx"[-count:] if count != 4 else facts.names or "tzyx")
    note = "is a plain Zarr array: spacing 1 mm is used"
    return Multiscale(axes, (facts.path,), ((1.0,) * count,), ((0.0,) * count,), "", "", (note,))


def _open_image(
    store: Store, facts: ArrayFacts, image: Multiscale, level: int, group: GroupFacts | None = None
) -> Backend:
    if len(facts.shape) != len(image.axes):
        raise FormatError(f"its array has {len(facts.shape)} axes, the metadata name {len(image.axes)}")
    sizes = [facts.shape[n] for n in image.others()] + [facts.colors] * (facts.colors > 1)
    shape = (prod(sizes), *[*(facts.shape[n] for n in image.spatial()), 1, 1][:3])
    check_shape(shape, facts.dtype, store.name)
    nifti = read_node(store, "nifti", group.version) if group is not None else None
    keys = {*facts.keys, *(group.keys if group else ())}
    if isinstance(nifti, ArrayFacts):
        keys.update(nifti.keys)
        header = _nifti_header(store, nifti, facts, image, shape, level)
        header = _with_gradients(header, group)
    else:
        header = _ome_header(facts, image, level, shape, group)
    backend = ZarrBackend(store, facts, image, header)
    backend.marks = {key: store.mark(key) for key in sorted(keys)}
    backend.header = _counted(backend, header)
    return backend


def _nifti_header(
    store: Store, nifti: ArrayFacts, facts: ArrayFacts, image: Multiscale, shape: tuple[int, ...], level: int
) -> Header:
    """Return the header that the raw NIfTI header gives (NIfTI-Zarr, 2.4)."""
    from medimg_cli.formats.nifti import open as open_nifti
    from medimg_cli.formats.nifti_fields import SIZES, recognise
    from medimg_cli.formats.nifti_writing import placed
    from medimg_cli.storage.source import MemorySource

    name = f"{store.name}/nifti"
    content = Chunks(store, nifti).everything()
    version, byte_order = recognise(content, name)
    content = content.ljust(SIZES[version] + 4, b"\0")
    raw = placed(content, version, byte_order, len(content), b"n+")
    header = open_nifti(MemorySource(raw, name + ".nii"), None).header
    notes = list(image.notes)
    if header.dtype != facts.dtype:
        notes.append(f"the NIfTI header says {header.dtype}, the array holds {facts.dtype}")
    same = level > 0 and header.shape[0] == shape[0]
    if header.shape != shape and not same:
        said, there = (" x ".join(map(str, sizes)) for sizes in (header.shape, shape))
        raise FormatError(f"the NIfTI header says {said} voxels, the array has {there}")
    if level:
        header = _at_level(header, image, level)
    return header.replace(
        shape=shape, dtype=facts.dtype, byte_order=facts.byte_order, format="zarr"
    ).warn(*notes)  # fmt: skip


def _at_level(header: Header, image: Multiscale, level: int) -> Header:
    """Move the affine and both forms to the grid of a coarser level."""
    rows = [[0.0] * 4 for _ in range(3)]
    for n in range(3):
        rows[n][n] = 1.0
    for row, n in enumerate(image.spatial()):
        finest = image.scales[0][n] or 1.0
        rows[row][row] = image.scales[level][n] / finest
        rows[row][3] = (image.origins[level][n] - image.origins[0][n]) / finest
    move = AffineMatrix(rows)
    forms = {name: form and form @ move for name in ("sform", "qform") if (form := getattr(header, name)) is not None}
    return header.replace(affine=header.affine @ move, **forms)


def _with_gradients(header: Header, group: GroupFacts | None) -> Header:
    """Read the diffusion gradients that a store of ours carries among its attributes."""
    own = group.attributes.get("medimg") if group is not None else None
    stated = own.get("gradients") if isinstance(own, dict) else None
    if stated is None:
        return header
    from medimg_cli.formats.nifti import timed

    try:
        bvals = tuple(float(value) for value in stated["bvals"])
        bvecs = tuple((float(x), float(y), float(z)) for x, y, z in stated["bvecs"])
    except (KeyError, TypeError, ValueError):
        return header.warn("its gradients cannot be read")
    if not len(bvals) == len(bvecs) == header.channels:
        return header.warn(f"{len(bvals)} gradients, the image has {header.channels} volumes")
    return timed(header.replace(gradients=Gradients(bvals, bvecs)))


def _ome_header(
    facts: ArrayFacts, image: Multiscale, level: int, shape: tuple[int, ...], group: GroupFacts | None
) -> Header:
    notes = list(image.notes)
    attributes = group.attributes if group is not None else facts.attributes
    affine, chosen = image.place(level, notes)
    time_spacing, time_units = image.step(level, notes)
    labels = label_table(attributes, notes)
    axes = [("time" if image.axes[n].kind == "time" else "channel", facts.shape[n]) for n in image.others()]
    names = channel_names(attributes)
    try:
        return Header(
            shape=shape, dtype=facts.dtype, affine=affine, format="zarr", ndim=len(image.spatial()),
            axes=(*axes, *((("rgb", facts.colors),) if facts.colors > 1 else ())), byte_order=facts.byte_order,
            affine_source=chosen, space_units=image.space_unit(), time_units=time_units, time_spacing=time_spacing,
            intent="label" if labels is not None else None, labels=labels or None, description=image.name,
            metadata={"channel_names": names} if names else {}, warnings=tuple(dict.fromkeys(notes)),
            native=Native("zarr", dict(attributes)),
        )  # fmt: skip
    except GeometryError as error:
        raise FormatError(error.message) from None


def _counted(backend: ZarrBackend, header: Header) -> Header:
    """Add what a look at the files tells: their size, and how many chunks are not there."""
    facts = backend.facts
    files = backend.store.files("")
    steps = backend.chunks.packing.steps
    header = header.replace(compression=next((step for step in steps if step != "crc32c"), None))
    if files is None:
        return header
    front = f"{facts.path}/" if facts.path else ""
    inside = [key[len(front) :] for key, _ in files if key.startswith(front)]
    backend.present = sum(not key.startswith(".") and not key.endswith("zarr.json") for key in inside)
    total = prod(facts.grid)
    if backend.present < total:
        value = 0 if facts.fill is None else facts.fill
        note = f"{total - backend.present} of {total} chunks are missing: their voxels are read as {str(value)[:20]}"
        header = header.warn(note)
    return header.replace(file_bytes=sum(size for _, size in files))


class ZarrBackend(ForeignBackend):
    """Voxels in chunks; a read asks for the chunks of its region, each once.

    Parameters
    ----------
    store : Store
    facts : ArrayFacts
    image : Multiscale
        Its axes.
    header : Header
    """

    def __init__(self, store: Store, facts: ArrayFacts, image: Multiscale, header: Header) -> None:
        super().__init__(header)
        self.store, self.facts = store, facts
        self.spatial, self.others = image.spatial(), image.others()
        self.marks: Mapping[str, Any] = {}
        self.present: int | None = None
        self._kept: dict[tuple[int, ...], tuple[np.ndarray[Any, Any] | None]] | None = (
            None  # decoded chunks, while a stream needs them again
        )

    @property
    def chunks(self) -> Chunks:
        """The chunks of the array."""
        return Chunks(self.store, self.facts)

    def check_amount(self, wanted: int) -> None:
        """Refuse to read where the store changed, or so many bytes where next to nothing is there."""
        if any(self.store.mark(key) != mark for key, mark in self.marks.items()):
            raise StorageError("the store changed since it was opened", path=self.store.name, hint="open it again")
        most = _UNCOUNTED if self.present is None else _SPARSE * (self.present + 1) * self.facts.chunk_bytes
        if wanted > max(_SMALL, most):
            there = "few" if self.present is None else str(self.present)
            raise OversizeError(
                f"{wanted} bytes of voxels are declared, {there} chunks of {self.facts.chunk_bytes} bytes are there",
                path=self.store.name, hint="read a region of it",
            )  # fmt: skip

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        from medimg_cli.backends import numpy_dtype

        c, i, j, k = (len(span) for span in region)
        self.check_amount(c * i * j * k * self.header.itemsize)
        out = np.empty((c, k, j, i), numpy_dtype(self.facts.dtype)).transpose(0, 3, 2, 1)
        chunks, fill = self.chunks, fill_value(self.facts)
        boxes = [cuts(span, chunks.shape[axis]) for axis, span in zip(self.spatial, region[1:], strict=False)]
        boxes += [iter([(0, slice(0, 1), slice(0, 1))])] * (3 - len(boxes))
        jobs = [(group, box) for box in product(*boxes) for group in self._grouped(region[0], chunks.shape)]
        places = [self._place(group, [part[0] for part in box]) for (group, _), box in jobs]
        found = in_order((partial(self._chunk, chunks, place) for place in places), min(4, cores()))
        for ((_, members), box), chunk in zip(jobs, found, strict=True):
            target = tuple(part[2] for part in box)
            for number, inner, color in members:
                piece = fill if chunk is None else self._piece(chunk, inner, [part[1] for part in box], color)
                out[(number, *target)] = piece
        return out

    def _chunk(self, chunks: Chunks, place: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
        """Return a chunk, from memory where a stream has it."""
        kept = self._kept
        if kept is None:
            return chunks.array(place)
        entry = kept.get(place)
        if entry is not None:
            return entry[0]
        found = chunks.array(place)
        for oldest in list(kept)[: len(kept) + 1 - max(1, _KEPT // chunks.size)]:
            kept.pop(oldest, None)
        kept[place] = (found,)
        return found

    def _grouped(self, wanted: range, sizes: Sequence[int]) -> list[tuple[tuple[int, ...], list[Any]]]:
        """Return the chunks of the channel axes, each with the channels in it: number, place inside, colour."""
        groups: dict[tuple[int, ...], list[Any]] = {}
        for number, channel in enumerate(wanted):
            chunk, inner = [], []
            for axis in self.others:
                channel, place = divmod(channel, self.facts.shape[axis])
                chunk.append(place // sizes[axis])
                inner.append(place % sizes[axis])
            groups.setdefault(tuple(chunk), []).append((number, tuple(inner), channel))
        return list(groups.items())

    def _place(self, group: Sequence[int], box: Sequence[int]) -> tuple[int, ...]:
        place = [0] * len(self.facts.shape)
        for axis, number in zip((*self.others, *self.spatial), (*group, *box), strict=False):
            place[axis] = number
        return tuple(place)

    def _piece(
        self, chunk: np.ndarray[Any, Any], inner: Sequence[int], box: Sequence[slice], color: int
    ) -> np.ndarray[Any, Any]:
        """Return what is wanted of a chunk, (I, J, K)."""
        index: list[Any] = [0] * len(self.facts.shape)
        for axis, place in zip(self.others, inner, strict=True):
            index[axis] = place
        for axis, part in zip(self.spatial, box, strict=False):
            index[axis] = part
        part = chunk[(*index, color)]
        left = sorted(self.spatial)
        part = part.transpose([left.index(axis) for axis in self.spatial])
        return part.reshape((*part.shape, 1, 1)[:3])

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        self.check_amount(self.header.data_bytes)
        reader = copy.copy(self)
        if any(self.chunks.shape[axis] > 1 for axis in self.others):  # volumes share chunks
            reader._kept = {}
        for block in blocks_by_region(reader, layout, raw=raw, max_bytes=self._row(layout, max_bytes)):
            for start in range(0, len(block), max_bytes):
                yield block[start : start + max_bytes]

    def _row(self, layout: Layout, max_bytes: int) -> int:
        """Return the bytes of a slab that ends where chunks end, so that each is decoded once."""
        sizes = self.chunks.shape
        axes = [(layout.strides[n], sizes[axis]) for n, axis in enumerate(self.spatial) if self.header.shape[n + 1] > 1]
        for stride, count in sorted(axes, reverse=True):
            if stride * count <= _ROW:
                return max(1, max_bytes // (stride * count)) * stride * count
        return max_bytes


def native_fields(data: Any) -> Mapping[str, Any]:
    """Return the fields of the NIfTI header, or the attributes of an OME-Zarr group."""
    if isinstance(data, Mapping):
        return data
    from medimg_cli.formats.nifti import native_fields as fields

    return fields(data)


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a NIfTI-Zarr folder of that name.

    As NIfTI, but no more than two axes beside space: three or four become one.

    Raises
    ------
    FormatError
        If a size or number is beyond NIfTI-2.
    """
    from medimg_cli.formats.zarr_writing import fitted

    return fitted(header, name)


def write_folder(
    staged: StagedFolder, backend: Backend, header: Header, *, level: int | None, threads: int | None
) -> None:
    """Write an image as NIfTI-Zarr, chunk by chunk.

    Raises
    ------
    StorageError
        If the disk is full, or writing fails otherwise.
    """
    from medimg_cli.formats.zarr_writing import write

    write(staged, backend, header, level, threads)


def is_store(path: str) -> bool:
    """Tell whether a folder is the Zarr store of one image and nothing else: only then may another one replace it.

    All through the tree there are only metadata, the arrays ``nifti`` and 0, 1 ... of the levels, and files and folders
    of chunks, whose names are numbers: no labels, no wells, no notes of anybody.
    """
    known = {"zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"}
    if not {"zarr.json", ".zgroup", ".zarray"}.intersection(os.listdir(path)):
        return False
    for _, folders, files in os.walk(path):
        if any(name not in ("nifti", "c") and name.strip("0123456789") for name in folders):
            return False
        if any(name not in known and name.strip("0123456789.") not in ("", "c") for name in files):
            return False
    return True
