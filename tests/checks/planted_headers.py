"""Headers with one fault each, and headers that only look like it: NIfTI-1 and NIfTI-2, both byte orders."""

from __future__ import annotations

import json
from math import cos, inf, nan, radians, sin
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.checks.nifti_files import AFFINE, MM_S, Make, extension, nifti, nifti_bytes
from tests.checks.planting import Case, Planted

SERIES = (5, 4, 3, 6)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def rows(affine: Any) -> dict[str, Any]:
    """Return the fields of an sform."""
    matrix = np.asarray(affine, dtype=float)
    return {f"srow_{axis}": matrix[n] for n, axis in enumerate("xyz")}


def moved(mm: float) -> dict[str, Any]:
    matrix = AFFINE.copy()
    matrix[1, 3] += mm
    return rows(matrix)


def mirrored() -> dict[str, Any]:
    matrix = AFFINE.copy()
    matrix[0] *= -1
    return rows(matrix)


def rotated(degrees: float) -> dict[str, Any]:
    """Return the sform turned about the axis of the third column, at its origin."""
    a, b = cos(radians(degrees)), sin(radians(degrees))
    matrix = AFFINE.copy()
    size = np.linalg.norm(AFFINE[:3, :3], axis=0)
    u, v = AFFINE[:3, 0] / size[0], AFFINE[:3, 1] / size[1]
    matrix[:3, 0], matrix[:3, 1] = (a * u + b * v) * size[0], (a * v - b * u) * size[1]
    return rows(matrix)


def sheared(degrees: float) -> np.ndarray[Any, Any]:
    matrix = AFFINE.copy()
    size = np.linalg.norm(AFFINE[:3, :3], axis=0)
    u, v = AFFINE[:3, 0] / size[0], AFFINE[:3, 1] / size[1]
    matrix[:3, 1] = (v * cos(radians(degrees)) + u * sin(radians(degrees))) * size[1]
    return matrix


def spaced(*spacing: float) -> np.ndarray[Any, Any]:
    matrix = AFFINE.copy()
    matrix[:3, :3] = AFFINE[:3, :3] / np.linalg.norm(AFFINE[:3, :3], axis=0) * spacing
    return matrix


def sform_only(affine: Any = AFFINE, **wanted: Any) -> Make:
    """Return what writes a file whose qform is switched off."""
    return nifti(affine=AFFINE, **({"qform_code": 0, **rows(affine)} | wanted))


def resized(spacing: tuple[float, float, float], **wanted: Any) -> Make:
    return nifti(affine=spaced(*spacing), **wanted)


def meta(name: str, *, keep: bool = True, keys: dict[str, str] | None = None, slices: int = 3) -> Make:
    """Return what writes a file of ITK; ``keep``: with its TransformMatrix."""

    def make(folder: Path) -> Path:
        image = sitk.GetImageFromArray(np.arange(20 * slices, dtype="int16").reshape(slices, 4, 5))
        image.SetSpacing((0.9, 1.25, 3.0))
        for key, value in (keys or {}).items():
            image.SetMetaData(key, value)
        path = folder / name
        sitk.WriteImage(image, str(path))
        if not keep:
            lines = path.read_bytes().split(b"\n", 14)
            words = (b"TransformMatrix", b"Offset", b"AnatomicalOrientation", b"CenterOfRotation")
            path.write_bytes(b"\n".join(line for line in lines if not line.startswith(words)))
        return path

    return make


def nrrd(*lines: bytes) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "scan.nrrd"
        head = [b"NRRD0004", b"type: short", b"dimension: 3", b"sizes: 5 4 3", b"endian: little", b"encoding: raw"]
        path.write_bytes(b"\n".join([*head, *lines]) + b"\n\n" + bytes(120))
        return path

    return make


SPACE = (b"space: left-posterior-superior", b"space directions: (0.9,0,0) (0,1.25,0) (0,0,3)", b"space origin: (1,2,3)")


def mha(**entries: str) -> Make:
    """Return what writes a MetaImage by hand, with some entries in place of the usual ones."""
    usual = {"TransformMatrix": "0 1 0 -1 0 0 0 0 1", "Offset": "1 2 3", "ElementSpacing": "0.9 1.25 3"}

    def make(folder: Path) -> Path:
        texts = {"NDims": "3", **usual, **entries, "DimSize": "5 4 3", "ElementType": "MET_SHORT"}
        lines = [f"{key} = {text}\n" for key, text in {**texts, "ElementDataFile": "LOCAL"}.items()]
        (folder / "scan.mha").write_bytes("".join(lines).encode() + bytes(120))
        return folder / "scan.mha"

    return make


def pair(**wanted: Any) -> Make:
    def make(folder: Path) -> Path:
        content = nifti_bytes(**{"magic": b"ni1", "vox_offset": 0} | wanted)
        (folder / "scan.hdr").write_bytes(content[:348])
        (folder / "scan.img").write_bytes(content[352:])
        return folder / "scan.hdr"

    return make


def mgh(good: int) -> Make:
    """Return what writes a file of FreeSurfer with a goodRASFlag."""

    def make(folder: Path) -> Path:
        image = nibabel.MGHImage(np.arange(60, dtype="int16").reshape(5, 4, 3), AFFINE)
        content = bytearray(image.to_bytes())
        content[28:30] = good.to_bytes(2, "big")
        (folder / "scan.mgh").write_bytes(content)
        return folder / "scan.mgh"

    return make


def ome_zarr(*scale: float) -> Make:
    """Return what writes a store of OME-Zarr 0.4 with one chunk."""

    def make(folder: Path) -> Path:
        path = folder / "scan.zarr"
        (path / "0").mkdir(parents=True)
        layout = {"zarr_format": 2, "shape": [3, 4, 5], "chunks": [3, 4, 5], "dtype": "<i2", "order": "C"}
        layout |= {"compressor": None, "filters": None, "fill_value": 0, "dimension_separator": "/"}
        axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
        steps = [{"type": "scale", "scale": scale}]
        image = {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
        (path / "0" / ".zarray").write_text(json.dumps(layout))
        (path / "0" / "0" / "0").mkdir(parents=True)
        (path / "0" / "0" / "0" / "0").write_bytes(bytes(120))
        return path

    return make


def array(name: str, shape: tuple[int, ...]) -> Make:
    def make(folder: Path) -> Path:
        np.save(folder / name, np.zeros(shape, "int16"))
        return folder / name

    return make


def dwi(bvals: str, bvecs: str | None, *, volumes: int = 3, **wanted: Any) -> Make:
    texts = {".bval": bvals} | ({} if bvecs is None else {".bvec": bvecs})
    return nifti("dwi.nii.gz", shape=(5, 4, 3, volumes), pixdim={4: 2.0}, beside=texts, **wanted)


B3, SOUND = "0 1000 1000\n", "0 1 0.6\n0 0 0.8\n0 0 0\n"

PLANTED: dict[str, Planted] = {
    "H001": Planted(
        (
            Case("moved", nifti(**moved(0.25)), "0.25 mm"),
            Case("moved-big-2", nifti(version=2, order=">", **moved(-40)), "40 mm"),
            Case("registered", nifti(sform_code=4, **rotated(60)), "mm apart"),
        ),
        (
            Case("by-less", nifti(**moved(0.08))),
            Case("not-in-use", nifti(sform_code=0, **moved(30))),
            Case("mirrored", nifti(**mirrored())),
        ),
    ),
    "H002": Planted(
        (
            Case("mirrored", nifti(**mirrored()), "mirror each other"),
            Case("mirrored-codes", nifti(order=">", sform_code=4, **mirrored()), "mirror each other"),
            Case("turned-2", nifti(version=2, **rotated(180)), "180 degrees"),
        ),
        (
            Case("turned-a-little", nifti(**rotated(44))),
            Case("other-space", nifti(sform_code=2, **rotated(90))),
            Case("mirrored-unused", nifti(qform_code=0, order=">", **mirrored())),
        ),
    ),
    "H003": Planted(
        (
            Case("both-codes-0", nifti(sform_code=0, qform_code=0), "though the sform holds numbers"),
            Case("big-2", nifti(version=2, order=">", sform_code=0, qform_code=0), "orientation is unknown"),
            Case("metaimage", meta("scan.mha", keep=False), "which way"),
            Case("nrrd", nrrd(b"spacings: 0.9 1.25 3"), "which way"),
            Case("mgh", mgh(0), "which way"),
        ),
        (
            Case("mgh", mgh(1)),
            Case("sform-alone", nifti(qform_code=0)),
            Case("qform-alone", nifti(sform_code=0)),
            Case("metaimage", meta("scan.mha")),
            Case("nrrd", nrrd(*SPACE)),
            Case("no-volume", nifti(shape=(5, 4), sform_code=0, qform_code=0)),
            Case("surface", nifti(shape=(60, 1, 1), sform_code=0, qform_code=0)),
        ),
    ),
    "H004": Planted(
        (
            Case("npy", array("scan.npy", (5, 4, 3)), "npy"),
            Case("gipl", meta("scan.gipl"), "gipl"),
            Case("two-axes", nifti(shape=(5, 4), sform_code=0, qform_code=0), "2 axes"),
        ),
        (
            Case("unknown-but-possible", nifti(sform_code=0, qform_code=0)),
            Case("nrrd", nrrd(*SPACE)),
        ),
    ),
    "H005": Planted(
        (
            Case("zeros", nifti(srow_x=0, srow_y=0, srow_z=0), "without volume"),
            Case("nan-2", nifti(version=2, order=">", srow_y={1: nan}), "not finite"),
            Case("qform", nifti(qoffset_x=inf), "qform"),
            Case("metaimage", mha(TransformMatrix="1 0 0 2 0 0 0 0 1"), "TransformMatrix"),
            Case("metaimage-place", mha(Offset="nan 0 0"), "Offset"),
            Case("nrrd", nrrd(SPACE[0], b"space directions: (0.9,0,0) (0,0,0) (0,0,3)", SPACE[2]), "length 0"),
            Case("nrrd-plane", nrrd(SPACE[0], b"space directions: (1,0,0) (0,1,0) (1,1,0)", SPACE[2]), "one plane"),
            Case("nrrd-place", nrrd(*SPACE[:2], b"space origin: (0,inf,0)"), "space origin"),
        ),
        (
            Case("metaimage", mha()),
            Case("metaimage-oblique", meta("scan.mha")),
            Case("nrrd", nrrd(*SPACE)),
            Case("nrrd-thin", nrrd(SPACE[0], b"space directions: (0.9,0,0) (0,1e-4,0) (0,0,3)", SPACE[2])),
            Case("not-declared", nifti(sform_code=0, srow_x=0, srow_y=0, srow_z=0)),
            Case("thin", nifti(affine=spaced(0.9, 1.25, 1e-3))),
            Case("two-axes", nifti(shape=(5, 4), srow_x={2: 0}, srow_y={2: 0}, srow_z={2: 0})),
            Case("qform-not-declared", nifti(qform_code=0, quatern_b=nan)),
        ),
    ),
    "H006": Planted(
        (
            Case("sform", nifti(sform_code=999), "sform_code is 999"),
            Case("qform-2", nifti(version=2, order=">", qform_code=6), "qform_code is 6"),
            Case("negative", nifti(order=">", qform_code=-1), "-1"),
        ),
        (
            Case("template", nifti(sform_code=5, qform_code=5)),
            Case("none", nifti(sform_code=0)),
        ),
    ),
    "H007": Planted(
        (
            Case("long", nifti(quatern_b=0.9, quatern_c=0.9, quatern_d=0.9), "1.559"),
            Case("long-2", nifti(version=2, order=">", quatern_b=1.01, quatern_c=0, quatern_d=0), "1.01"),
        ),
        (
            Case("half-a-turn", nifti(quatern_b=0, quatern_c=np.nextafter(np.float32(1), 2), quatern_d=0)),
            Case("unused", nifti(qform_code=0, quatern_b=0.9, quatern_c=0.9, quatern_d=0.9)),
        ),
    ),
    "H008": Planted(
        (
            Case("0", nifti(pixdim={0: 0}), "pixdim[0] is 0"),
            Case("2-big-2", nifti(version=2, order=">", pixdim={0: -2}), "-2"),
            Case("nan", nifti(pixdim={0: nan}), "nan"),
        ),
        (
            Case("minus-1", nifti(pixdim={0: -1})),
            Case("unused", nifti(qform_code=0, order=">", pixdim={0: 0})),
        ),
    ),
    "H009": Planted(
        (
            Case("half-a-degree", sform_only(sheared(0.5)), "0.5 degrees"),
            Case("much", sform_only(sheared(18), version=2, order=">"), "18 degrees"),
        ),
        (
            Case("rounding", sform_only(sheared(0.05))),
            Case("unused", nifti(sform_code=0, **rows(sheared(18)))),
        ),
    ),
    "H010": Planted(
        (
            Case("0", nifti(pixdim={3: 0}), "along k is 0"),
            Case("nan-2", nifti(version=2, order=">", pixdim={1: nan}), "along i is nan"),
            Case("infinite", sform_only(pixdim={2: inf}), "along j is inf"),
            Case("metaimage", mha(ElementSpacing="0.9 0 3"), "along j is 0"),
            Case("zarr", ome_zarr(3, nan, 0.9), "along j is nan"),
        ),
        (
            Case("metaimage", mha()),
            Case("zarr", ome_zarr(3, 1.25, 0.9)),
            Case("one-slice", nifti(shape=(5, 4, 1), pixdim={3: 0})),
            Case("list", nifti(shape=(50, 1, 1), pixdim={1: 0, 2: 0, 3: 0})),
            Case("tiny", sform_only(pixdim={3: 1e-30})),
        ),
    ),
    "H011": Planted(
        (
            Case("x", nifti(pixdim={1: -0.9}), "-0.9"),
            Case("sform-2", sform_only(version=2, order=">", pixdim={2: -1.25, 3: -3}), "-1.25, -3"),
        ),
        (
            Case("qfac", nifti(pixdim={0: -1})),
            Case("one-slice", nifti(shape=(5, 4, 1), pixdim={3: -3})),
        ),
    ),
    "H012": Planted(
        (
            Case("resampled", sform_only(spaced(2, 2, 2)), "the sform 2 x 2 x 2 mm"),
            Case("a-little", sform_only(order=">", pixdim={3: 3.01}), "3.01"),
            Case("um", sform_only(version=2, xyzt_units=11, pixdim={1: 1}), "0.001"),
        ),
        (
            Case("rounding", sform_only(pixdim={3: 3.001})),
            Case("qform-there", nifti(**rows(spaced(2, 2, 2)))),
            Case("um", sform_only(xyzt_units=11)),
            Case("one-slice", sform_only(shape=(5, 4, 1), pixdim={3: 7})),
        ),
    ),
    "H013": Planted(
        (
            Case("metres", resized((0.001, 0.001, 0.003)), "0.001 mm"),
            Case("far-slices", resized((0.9, 1.25, 60), version=2, order=">"), "60 mm"),
            Case("needles", resized((0.1, 0.1, 12)), "120 times"),
        ),
        (
            Case("micro-ct", resized((0.005, 0.005, 0.005))),
            Case("stated-in-um", resized((1, 1, 3), xyzt_units=11)),
            Case("thick", resized((0.9, 1.25, 48))),
            Case("one-slice", nifti(shape=(5, 4, 1), affine=spaced(0.9, 1.25, 500))),
        ),
    ),
    "H014": Planted(
        (
            Case("long", resized((0.9, 1.25, 3), shape=(5, 2500, 2)), "3125 mm"),
            Case("small", resized((0.004, 0.004, 0.004), shape=(40, 30, 20), version=2, order=">"), "0.16 mm"),
        ),
        (
            Case("list", nifti(shape=(4000, 1, 1))),
            Case("body", resized((0.9, 1.25, 3), shape=(5, 2300, 2))),
            Case("few-voxels", resized((0.1, 0.1, 0.1))),
            Case("stated-in-um", resized((4, 4, 4), shape=(40, 30, 20), xyzt_units=11)),
        ),
    ),
    "H015": Planted(
        (
            Case("far", nifti(**moved(2500), qoffset_y=AFFINE[1, 3] + 2500), "mm from the world's origin"),
            Case("um", nifti(version=2, order=">", qform_code=0, **moved(-90000)), "89,987 mm"),
        ),
        (
            Case("table", nifti(**moved(1800), qoffset_y=AFFINE[1, 3] + 1800)),
            Case("unused", nifti(qform_code=0, qoffset_x=1e6)),
        ),
    ),
    "H020": Planted(
        (
            Case("0", nifti(xyzt_units=0), "in which unit"),
            Case("time-alone-2", nifti(version=2, order=">", xyzt_units=8), "in which unit"),
        ),
        (Case("mm", nifti(xyzt_units=2)), Case("um", nifti(order=">", xyzt_units=3))),
    ),
    "H021": Planted(
        (
            Case("space", nifti(xyzt_units=4), "unit of space is 4"),
            Case("time-2", nifti(version=2, order=">", xyzt_units=58), "unit of time is 56"),
        ),
        (
            Case("rad", nifti(xyzt_units=50)),
            Case("metre", nifti(order=">", xyzt_units=9)),
            Case("cifti", nifti(xyzt_units=12, version=2, intent_code=3002)),
        ),
    ),
    "H022": Planted(
        (
            Case("seconds", nifti(shape=SERIES, xyzt_units=2, pixdim={4: 2.5}), "2.5"),
            Case("ms-2", nifti(shape=SERIES, version=2, order=">", xyzt_units=2, pixdim={4: 90}), "90"),
        ),
        (
            Case("stated", nifti(shape=SERIES, xyzt_units=18, pixdim={4: 2500})),
            Case("channels", nifti(shape=SERIES, xyzt_units=2, pixdim={4: 1})),
            Case("one-volume", nifti(shape=(5, 4, 3, 1), xyzt_units=2, pixdim={4: 2.5})),
        ),
    ),
    "H023": Planted(
        (
            Case("0", nifti(shape=SERIES, pixdim={4: 0}), "6 time steps"),
            Case("negative-2", nifti(shape=SERIES, version=2, order=">", pixdim={4: -2}), "6 time steps"),
        ),
        (
            Case("stated", nifti(shape=SERIES, pixdim={4: 0.5})),
            Case("volume", nifti(pixdim={4: 0})),
            Case("dwi", nifti("dwi.nii", shape=(5, 4, 3, 3), xyzt_units=2, pixdim={4: 1}, beside={".bval": B3, ".bvec": SOUND})),
        ),
    ),
    "H024": Planted(
        (
            Case("1", nifti(shape=SERIES, xyzt_units=2, pixdim={4: 1}), "6 volumes"),
            Case("0-2", nifti(shape=SERIES, version=2, order=">", xyzt_units=0, pixdim={4: 0}), "6 volumes"),
        ),
        (
            Case("time", nifti(shape=SERIES, pixdim={4: 1})),
            Case("vectors", nifti(shape=(5, 4, 3, 3), xyzt_units=2, intent_code=1007)),
            Case("one-volume", nifti(shape=(5, 4, 3, 1), xyzt_units=2, pixdim={4: 1})),
        ),
    ),
    "H025": Planted(
        (
            Case("ms-as-s", nifti(shape=SERIES, pixdim={4: 2000}), "2 s, stated in ms"),
            Case("s-as-ms-2", nifti(shape=SERIES, version=2, order=">", xyzt_units=18, pixdim={4: 2.5}), "2.5 ms"),
        ),
        (
            Case("ms", nifti(shape=SERIES, xyzt_units=18, pixdim={4: 2000})),
            Case("pet", nifti(shape=SERIES, order=">", pixdim={4: 95})),
            Case("fast", nifti(shape=SERIES, xyzt_units=18, pixdim={4: 12})),
        ),
    ),
    "H026": Planted(
        (
            Case("one-too-many", nifti(slice_code=1, dim_info=0x30, slice_end=3), "0 to 3"),
            Case("no-axis-2", nifti(version=2, order=">", slice_code=3, slice_end=2), "along which axis"),
            Case("no-such-order", nifti(slice_code=7, dim_info=0x30, slice_end=2), "slice_code is 7"),
            Case("other-axis", nifti(slice_code=1, dim_info=0x20, slice_end=4), "along j"),
        ),
        (
            Case("all", nifti(slice_code=5, dim_info=0x30, slice_end=2)),
            Case("unstated", nifti(order=">", slice_code=1, dim_info=0x39)),
            Case("first-axis", nifti(slice_code=1, dim_info=0x10, slice_end=4)),
        ),
    ),
    "H027": Planted(
        (
            Case("ms", nifti(shape=SERIES, pixdim={4: 2}, slice_duration=66), "66"),
            Case("negative-2", nifti(version=2, order=">", slice_duration=-1), "-1"),
            Case("nan", nifti(slice_duration=nan), "nan"),
        ),
        (
            Case("sound", nifti(shape=SERIES, pixdim={4: 2}, slice_duration=0.66)),
            Case("one-slice", nifti(shape=SERIES, order=">", pixdim={4: 2}, slice_duration=2)),
            Case("volume", nifti(slice_duration=66)),
        ),
    ),
    "H030": Planted(
        (
            Case("32", nifti(bitpix=32), "bitpix is 32"),
            Case("0-2", nifti(version=2, order=">", bitpix=0), "bitpix is 0"),
            Case("rgb", nifti(dtype=RGB, bitpix=8), "24 bits"),
        ),
        (Case("rgb", nifti(dtype=RGB)), Case("complex", nifti(dtype="complex64", order=">"))),
    ),
    "H031": Planted(
        (
            Case("inter-nan", nifti(scl_inter=nan), "no scaling"),
            Case("slope-inf-2", nifti(version=2, order=">", scl_slope=inf), "no scaling"),
            Case("both-nan", nifti(scl_slope=nan, scl_inter=nan), "are NaN"),
        ),
        (Case("0", nifti(scl_slope=0)), Case("tiny", nifti(order=">", scl_slope=1e-38, scl_inter=-1e30))),
    ),
    "H032": Planted(
        (
            Case("ct", nifti(scl_slope=0, scl_inter=-1024), "-1024"),
            Case("2", nifti(version=2, order=">", scl_slope=0, scl_inter=0.5), "0.5"),
        ),
        (Case("0-0", nifti(scl_slope=0, scl_inter=0)), Case("1", nifti(scl_slope=1, scl_inter=-1024))),
    ),
    "H033": Planted(
        (
            Case("slope", nifti(dtype=RGB, scl_slope=2), "slope 2"),
            Case("inter-2", nifti(version=2, order=">", dtype=RGB, scl_inter=7), "scl_inter 7"),
        ),
        (Case("colours", nifti(dtype=RGB)), Case("0", nifti(dtype=RGB, scl_slope=0)), Case("grey", nifti(scl_slope=2))),
    ),
    "H034": Planted(
        (
            Case("above", nifti(cal_min=1000, cal_max=0), "1000 to cal_max 0"),
            Case("nan-2", nifti(version=2, order=">", cal_max=nan), "nan"),
        ),
        (Case("0-0", nifti()), Case("negative", nifti(order=">", cal_min=-1000, cal_max=-200))),
    ),
    "H035": Planted(
        (
            Case("0", nifti(vox_offset=0), "vox_offset is 0"),
            Case("0-big-2", nifti(version=2, order=">", vox_offset=0), "from 544"),
            Case("half", nifti(vox_offset=352.5), "352.5"),
        ),
        (Case("352", nifti()), Case("pair", pair(vox_offset=0)), Case("extension", nifti(extender=extension(b"a comment")))),
    ),
    "H036": Planted(
        (
            Case("353", nifti(extender=bytes(5)), "353"),
            Case("2", nifti(version=2, order=">", extender=bytes(13)), "553"),
        ),
        (Case("368", nifti(extender=bytes(20))), Case("0", nifti(order=">", vox_offset=0))),
    ),
    "H037": Planted(
        (Case("ni1", nifti(magic=b"ni1"), "two files"), Case("ni1-big", nifti("a.nii.gz", order=">", magic=b"ni1"), "one")),
        (Case("n+1", nifti()), Case("2", nifti(version=2)), Case("pair", pair())),
    ),
    "H038": Planted(
        (
            Case("30", nifti(dim={4: 30}), "dim[4] is 30"),
            Case("negative-2", nifti(version=2, order=">", dim={7: -5}), "dim[7] is -5"),
        ),
        (Case("0", nifti(dim={4: 0, 5: 0, 6: 0, 7: 0})), Case("in-front", nifti(order=">", shape=SERIES))),
    ),
    "H039": Planted(
        (
            Case("4", nifti(shape=(5, 4, 3, 1)), "dim[0] is 4"),
            Case("6-2", nifti(shape=(5, 4, 3, 6, 1, 1), version=2, order=">"), "dim[0] is 6"),
        ),
        (Case("slice", nifti(shape=(5, 4, 1))), Case("vectors", nifti(shape=(5, 4, 3, 1, 3), intent_code=1007))),
    ),
    "H040": Planted(
        (
            Case("21", nifti(extender=extension(b"thirteen text", fill=False)), "21 bytes"),
            Case("9-2", nifti(version=2, order=">", extender=extension(b"x", order=">", fill=False)), "9 bytes"),
        ),
        (
            Case("32", nifti(extender=extension(b"thirteen text"))),
            Case("no-extension", nifti(extender=b"\0" + extension(b"thirteen text", fill=False)[1:])),
        ),
    ),
    "H041": Planted(
        (
            Case("dim-info", nifti(dim_info=0xF0), "dim_info"),
            Case("units-2", nifti(version=2, order=">", xyzt_units=MM_S | 64), "xyzt_units"),
            Case("unused-2", nifti(version=2, unused_str=b"Doe"), "unused_str"),
            Case("extender", nifti(extender=b"\0\0\0\7"), "extender"),
        ),
        (
            Case("analyze", nifti(regular=b"r", extents=16384, glmax=255, glmin=1, session_error=1)),
            Case("dim-info", nifti(order=">", dim_info=0x39)),
            Case("extension", nifti(version=2, extender=extension(b"a comment"))),
        ),
    ),
    "H050": Planted(
        (
            Case("latin-1", nifti(descrip="Kopfl\xe4nge".encode("latin-1")), "descrip"),
            Case("utf-8-2", nifti(version=2, order=">", aux_file="\u8133".encode()), "aux_file"),
            Case("nrrd", nrrd(*SPACE, "operator:=M\xfcller".encode()), "operator"),
        ),
        (
            Case("behind-the-end", nifti(descrip=b"head\0\xff\xff")),
            Case("metaimage", meta("scan.mha", keys={"operator": "\xe4"})),
            Case("nrrd", nrrd(*SPACE, b"operator:=Mueller")),
        ),
    ),
    "H051": Planted(
        (
            Case("escape", nifti(descrip=b"\x1b[2Jhead"), "0x1b"),
            Case("delete-2", nifti(version=2, order=">", intent_name=b"a\x7f"), "0x7f"),
            Case("nrrd", nrrd(*SPACE, b"operator:=a\x07b"), "0x07"),
        ),
        (Case("lines", nifti(descrip=b"one\ttwo\r\nthree")), Case("behind-the-end", nifti(descrip=b"head\0\x1b[2J"))),
    ),
    "H052": Planted(
        (
            Case("left-over", nifti(descrip=b"new\0der old text"), "descrip"),
            Case("first-2", nifti(version=2, order=">", aux_file=b"\0name"), "aux_file"),
        ),
        (Case("full", nifti(descrip=b"x" * 80)), Case("zeros", nifti(order=">", descrip=b"text\0\0\0"))),
    ),
    "H053": Planted(
        (
            Case("12345", nifti(intent_code=12345), "12345"),
            Case("negative-2", nifti(version=2, order=">", intent_code=-4), "-4"),
        ),
        (Case("label", nifti(intent_code=1002)), Case("cifti", nifti(version=2, intent_code=3006))),
    ),
    "H054": Planted(
        (
            Case("no-axis", nifti(intent_code=1007), "no axis"),
            Case("two-of-three", nifti(version=2, order=">", shape=(5, 4, 3, 1, 2), intent_code=1006), "the axis for them has 2"),
            Case("matrix", nifti(shape=(5, 4, 3, 1, 6), intent_code=1004, intent_p1=3, intent_p2=3), "do not make 6"),
        ),
        (
            Case("fifth", nifti(shape=(5, 4, 3, 1, 3), intent_code=1006)),
            Case("fsl", nifti(order=">", shape=(5, 4, 3, 3), intent_code=2003)),
            Case("colours", nifti(dtype=RGB, intent_code=2003)),
            Case("symmetric", nifti(shape=(5, 4, 3, 1, 6), intent_code=1005, intent_p1=3)),
        ),
    ),
    "H055": Planted(
        (
            Case("float32", nifti(dtype="float32", intent_code=1002), "float32"),
            Case("float64-2", nifti(version=2, order=">", dtype="float64", intent_code=1002), "float64"),
        ),
        (Case("int32", nifti(dtype="int32", intent_code=1002)), Case("none", nifti(dtype="float32"))),
    ),
    "H056": Planted(
        (
            Case("slope", nifti(scl_slope=0.5, intent_code=1002), "slope 0.5"),
            Case("inter-2", nifti(version=2, order=">", scl_inter=1, intent_code=1002), "intercept 1"),
        ),
        (Case("0", nifti(scl_slope=0, intent_code=1002)), Case("no-labels", nifti(order=">", scl_slope=0.5))),
    ),
    "H057": Planted(
        (
            Case("t", nifti(dtype="float32", intent_code=3), "intent_p1"),
            Case("f-2", nifti(version=2, order=">", intent_code=4), "intent_p1 to intent_p2"),
        ),
        (
            Case("t", nifti(dtype="float32", intent_code=3, intent_p1=17)),
            Case("z", nifti(order=">", dtype="float32", intent_code=5)),
        ),
    ),
    "H060": Planted(
        (
            Case("two-rows", dwi(B3, "0 1 0\n0 0 1\n"), "no table"),
            Case("comma", dwi("0 1000 1e3x\n", SOUND, version=2, order=">"), "no number"),
        ),
        (Case("rows", dwi(B3, SOUND)), Case("columns", dwi(B3, "0 0 0\n1 0 0\n0.6 0.8 0\n", order=">"))),
    ),
    "H061": Planted(
        (
            Case("fewer", dwi(B3, SOUND, volumes=4), "3 b-values"),
            Case("more-2", dwi(B3, SOUND, volumes=2, version=2, order=">"), "2 volumes"),
        ),
        (Case("as-many", dwi(B3, SOUND)), Case("unreadable", dwi(B3, "0 1\n"))),
    ),
    "H062": Planted(
        (
            Case("bval", dwi(B3, None), "no bvec"),
            Case("bvec", nifti("dwi.nii", order=">", shape=SERIES, beside={".bvec": SOUND}), "no bval"),
        ),
        (Case("both", dwi(B3, SOUND)), Case("neither", nifti(shape=SERIES, beside={".bvals": B3}))),
    ),
    "H063": Planted(
        (
            Case("long", dwi(B3, "0 1 0.6\n0 0.2 0.8\n0 0 0\n"), "volume 1 has length 1.02"),
            Case("short-2", dwi(B3, "0 0.5 0.3\n0 0 0.4\n0 0 0\n", version=2, order=">"), "and 1 more"),
        ),
        (
            Case("rounding", dwi(B3, "0 1.004 0.6\n0 0 0.8\n0 0 0\n")),
            Case("b-0", dwi("0 5 1000\n", "7 2 0.6\n0 0 0.8\n0 0 0\n", order=">")),
            Case("trace", dwi(B3, "0 1 0\n0 0 0\n0 0 0\n")),
        ),
    ),
    "H064": Planted(
        (
            Case("zeros", dwi(B3, "0 0 0\n0 0 0\n0 0 0\n"), "2 diffusion-weighted volumes"),
            Case("nan-2", dwi(B3, "nan nan nan\n" * 3, version=2, order=">"), "0 0 0"),
        ),
        (
            Case("one-trace", dwi("0 0 1000\n", "0 0 0\n0 0 0\n0 0 0\n")),
            Case("b-0", dwi("0 0 0\n", "0 0 0\n0 0 0\n0 0 0\n", order=">")),
            Case("sound", dwi(B3, SOUND)),
        ),
    ),
    "H065": Planted(
        (
            Case("other", nifti(shape=SERIES, pixdim={4: 1}, beside={".json": '{"RepetitionTime": 2}'}), "2 s"),
            Case("ms-2", nifti("a.nii.gz", version=2, order=">", shape=SERIES, xyzt_units=18, pixdim={4: 2000},
                               beside={".json": '{"RepetitionTime": 2000}'}), "2000 s"),
        ),
        (
            Case("ms", nifti(shape=SERIES, xyzt_units=18, pixdim={4: 2000}, beside={".json": '{"RepetitionTime": 2.0}'})),
            Case("volume", nifti(pixdim={4: 1}, beside={".json": '{"RepetitionTime": 2}'})),
            Case("no-number", nifti(shape=SERIES, pixdim={4: 1}, beside={".json": '{"RepetitionTime": "2"}'})),
            Case("no-json", nifti(shape=SERIES, pixdim={4: 1}, beside={".json": "RepetitionTime 2"})),
        ),
    ),
    "H066": Planted(
        (
            Case("ms", nifti(shape=SERIES, pixdim={4: 2}, beside={".json": '{"SliceTiming": [0, 666, 1332]}'}), "1332 s"),
            Case("count-2", nifti(version=2, order=">", shape=SERIES, pixdim={4: 2},
                                  beside={".json": '{"SliceTiming": [0, 1]}'}), "2 times"),
        ),
        (
            Case("sound", nifti(shape=SERIES, pixdim={4: 2}, beside={".json": '{"SliceTiming": [0, 0.7, 1.3]}'})),
            Case("other-axis", nifti(shape=SERIES, pixdim={4: 2},
                                     beside={".json": '{"SliceTiming": [0, 0.3, 0.7, 1], "SliceEncodingDirection": "j"}'})),
        ),
    ),
}  # fmt: skip
