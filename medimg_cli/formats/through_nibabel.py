"""Philips PAR/REC, read only: nibabel reads the PAR file, medimg the voxels of the REC file.

Decisions:

- Values are what the console shows (DV = PV * RS + RI, nibabel's "dv"), not the floating-point ones (FP). Where one
  pair of RS and RI holds for all slices, they are slope and inter and the stored numbers remain; else the values are
  float64.
- Slices are in nibabel's order: by slice number, then by volume in the order of the PAR file.
- A recording that was stopped half-way is refused, as is one whose slices have several orientations or sizes.
- The fourth axis is time in a dynamic scan or where there are b-values, else channels.
- Gradient directions of the PAR file are (ap, fh, rl) in the patient; they are turned into the voxel axes with the
  affine, angulation included.
- Names of patients and examinations are not taken over.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, FramesBackend, StoredBackend
from medimg_cli.errors import MissingPartError, NotFoundError, UnsupportedError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.foreign import ScaledBackend, check_shape, foreign_errors
from medimg_cli.header import Gradients, Header
from medimg_cli.storage.source import ByteSource, MemorySource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["open"]

_MAGIC = b"# === DATA DESCRIPTION FILE"
_MOST_HEADER = 1 << 26
_TITLE = "PAR/REC"


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a PAR/REC pair; the name of either file will do.

    Raises
    ------
    FormatError
        If nibabel refuses the PAR file, or its companion is missing.
    """
    stem, _, _ = split_suffix(source.name)
    base = stem.rpartition("/")[2]
    if not source.head(len(_MAGIC)).startswith(_MAGIC):
        found = _sibling(source, base, (".PAR", ".par", ".Par"))
        if found is None:
            raise MissingPartError("has no PAR file beside it", path=source.name, hint=f"expected {base}.PAR")
        source = found
    record = _sibling(source, base, (".REC", ".rec", ".Rec"))
    problem: MissingPartError | None = None
    if record is None:
        problem = MissingPartError(f"its voxels are missing: there is no {base}.REC beside it", path=source.name)
        record = MemorySource(b"", source.name)
    text = source.head(_MOST_HEADER).decode("latin-1")
    with foreign_errors(source.name, _TITLE) as notes:
        from nibabel.parrec import PARRECHeader

        par = PARRECHeader.from_fileobj(StringIO(text))
        facts = _facts(par)
    header = _neutral(par, facts, notes, source.name)
    if problem is None:
        header = header.replace(file_bytes=(source.size or 0) + record.most)
    return _voxels(record, header, facts, problem)


def _sibling(source: ByteSource, base: str, suffixes: tuple[str, ...]) -> ByteSource | None:
    for suffix in suffixes:
        try:
            return source.sibling(base + suffix)
        except NotFoundError:
            continue
    return None


def _facts(par: Any) -> dict[str, Any]:
    """Ask nibabel for everything that its header can refuse."""
    slopes, inters = par.get_data_scaling("dv")
    return {
        "shape": tuple(int(n) for n in par.get_data_shape()),
        "affine": par.get_affine().tolist(),
        "dtype": par.get_data_dtype().name,
        "places": [int(n) for n in par.get_sorted_slice_indices()],
        "slopes": slopes.ravel(order="F").tolist(),
        "inters": inters.ravel(order="F").tolist(),
        "labels": {str(key): value.tolist() for key, value in par.get_volume_labels().items()},
        "gradients": _gradients(par),
        "step": float(par.get_zooms()[3]) if len(par.get_data_shape()) > 3 else 0.0,
    }


def _gradients(par: Any) -> tuple[list[float], list[list[float]]] | None:
    """Return b-values and directions (L-R, P-A, I-S) per volume."""
    from nibabel.parrec import ACQ_TO_PSL

    bvals, bvecs = par.get_bvals_bvecs()
    if bvals is None or bvecs is None:
        return None
    back = ACQ_TO_PSL[par.get_slice_orientation()][:3, :3]  # nibabel has turned them into axes of the slice
    posterior, superior, left = (bvecs @ back.T).T
    world = [[-x, -y, z] for x, y, z in zip(left.tolist(), posterior.tolist(), superior.tolist(), strict=True)]
    return bvals.tolist(), world


def _neutral(par: Any, facts: dict[str, Any], notes: list[str], name: str) -> Header:
    i, j, k, channels = (*facts["shape"], 1)[:4]
    if len(facts["shape"]) > 4:
        raise UnsupportedError(f"{_TITLE} with {len(facts['shape'])} axes is not supported", path=name)
    check_shape((channels, i, j, k), facts["dtype"], name)
    affine = AffineMatrix(facts["affine"])
    gradients = _in_voxel_axes(facts["gradients"], affine)
    general = par.general_info
    dynamic = channels > 1 and bool(general.get("dyn_scan")) and general.get("max_dynamics", 1) > 1
    same = len(set(facts["slopes"])) == 1 and len(set(facts["inters"])) == 1
    scaled = same and (facts["slopes"][0], facts["inters"][0]) != (1.0, 0.0)
    return Header(
        shape=(channels, i, j, k),
        dtype=facts["dtype"] if same else "float64",
        affine=affine,
        axes=(("time" if dynamic or gradients else "channel", channels),) if channels > 1 else (),
        slope=facts["slopes"][0] if scaled else None,
        inter=facts["inters"][0] if scaled else None,
        affine_source="par",
        time_spacing=facts["step"] if dynamic and facts["step"] > 0 else None,
        description=str(general.get("protocol_name", "")),
        gradients=gradients,
        metadata={f"par_{key.replace(' ', '_')}": value for key, value in facts["labels"].items()},
        warnings=tuple(notes),
    )


def _in_voxel_axes(found: tuple[list[float], list[list[float]]] | None, affine: AffineMatrix) -> Gradients | None:
    if found is None:
        return None
    bvals, world = found
    columns = list(zip(*affine.direction, strict=True))
    flip = -1.0 if affine.determinant > 0 else 1.0
    vectors = []
    for vector in world:
        x, y, z = (sum(c * v for c, v in zip(column, vector, strict=True)) + 0.0 for column in columns)
        vectors.append((flip * x + 0.0, y, z))
    return Gradients(tuple(bvals), tuple(vectors))


def _voxels(record: ByteSource, header: Header, facts: dict[str, Any], problem: MissingPartError | None) -> Backend:
    """Return the voxels where they lie; slice by slice where order or scaling ask for it."""
    dtype, (channels, i, j, k) = facts["dtype"], header.shape
    places = facts["places"]
    packed = Layout.packed((1, i, j, 1), dtype)
    page = packed.nbytes
    down = places[1] - places[0] if k > 1 else 1
    along = places[k] - places[0] if channels > 1 else 1
    regular = all(place == places[0] + n % k * down + n // k * along for n, place in enumerate(places))
    if regular and along > 0 and header.dtype == dtype:
        volume = ((channels, along * page),) if channels > 1 else ()
        layout = Layout(header.shape, dtype, "little", (packed.itemsize, packed.itemsize * i, down * page), volume)
        return StoredBackend(StoredArray(record, places[0] * page, layout), header, problem)
    raw = header.replace(shape=(1, i, j, 1), dtype=dtype, axes=(), gradients=None)
    one = raw.replace(dtype=header.dtype)
    slices: list[Backend] = []
    for place, slope, inter in zip(places, facts["slopes"], facts["inters"], strict=True):
        stored = StoredBackend(StoredArray(record, place * page, packed), raw, problem)
        slices.append(stored if header.dtype == dtype else ScaledBackend(stored, slope, inter, one))
    volume_header = one.replace(shape=(1, i, j, k))
    volumes = [FramesBackend(slices[c * k : (c + 1) * k], volume_header, axis=3) for c in range(channels)]
    if channels == 1:
        return FramesBackend(slices, header, axis=3)
    return FramesBackend(volumes, header, axis=0)
