"""DICOM series made in code with pydicom, for tests: what a scanner would write, and what it should not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medimg_cli.affine import AffineMatrix

MR, CT, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "2", "7"))
IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99", ".5"))
SERIES = "1.2.826.0.1.3680043.8.498.1"

Change = Callable[[Any, int], None]


def dataset(pixels: np.ndarray[Any, Any], **values: Any) -> Any:
    """Return a data set for pixels (rows, columns) or (rows, columns, 3), with a patient that nobody may see."""
    from pydicom.dataset import Dataset, FileMetaDataset

    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = values.pop("syntax", EXPLICIT)
    found.SOPClassUID = values.pop("SOPClassUID", MR)
    found.SOPInstanceUID = values.pop("SOPInstanceUID", f"{SERIES}.{random.Random(pixels.tobytes()).getrandbits(60)}")
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.SeriesInstanceUID = SERIES
    found.PatientName, found.PatientID, found.PatientBirthDate = "Doe^Jane", "MRN-4711", "19700131"
    found.ReferringPhysicianName, found.InstitutionName = "House^Gregory", "Princeton Plainsboro"
    found.Modality, found.SeriesDescription, found.SeriesNumber = "MR", "T1 of a phantom", 3
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    found.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        found.PlanarConfiguration = 0
    found.BitsAllocated = found.BitsStored = 8 * pixels.dtype.itemsize
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    big = found.file_meta.TransferSyntaxUID == BIG
    content = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    found.PixelData = content + b"\0" * (len(content) % 2)
    found["PixelData"].VR = "OW" if found.BitsAllocated > 8 else "OB"
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def save(found: Any, path: Path) -> Path:
    """Write a data set; RLE is encoded by pydicom."""
    if found.file_meta.TransferSyntaxUID == RLE:
        found.file_meta.TransferSyntaxUID = EXPLICIT
        found.compress(RLE, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def geometry(affine: AffineMatrix, place: int) -> dict[str, Any]:
    """Return the tags of geometry of a slice: PixelSpacing is (between rows, between columns)."""
    lps = np.array(affine.to_lps().rows)
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :2] / sizes[:2]
    return {
        "ImagePositionPatient": [float(f"{n:.10g}") for n in lps[:3, 3] + place * lps[:3, 2]],
        "ImageOrientationPatient": [float(f"{n:.10g}") for n in directions.T.ravel()],
        "PixelSpacing": [float(f"{sizes[1]:.10g}"), float(f"{sizes[0]:.10g}")],
        "SliceThickness": float(f"{sizes[2]:.10g}"),
    }


def write_series(
    folder: Path, array: np.ndarray[Any, Any], affine: AffineMatrix, change: Change | None = None, **values: Any
) -> list[Path]:
    """Write (I, J, K) or (3, I, J, K) as a series under names in no order; return the files by K.

    ``change(data set, k)`` may turn each slice into something else.
    """
    count = array.shape[-1]
    names = [f"IM{n:04d}" for n in range(count)]
    random.Random(count).shuffle(names)
    files = []
    for k in range(count):
        pixels = np.ascontiguousarray(array[..., k].T)
        made = dataset(pixels, **{**geometry(affine, k), "InstanceNumber": k + 1, **values})
        if change is not None:
            change(made, k)
        files.append(save(made, folder / names[k]))
    return files


def write_times(
    folder: Path, array: np.ndarray[Any, Any], affine: AffineMatrix, change: Callable[[Any, int, int], None]
) -> None:
    """Write (T, I, J, K); ``change(data set, t, k)`` says which is which."""
    for t, volume in enumerate(array):
        for k in range(volume.shape[-1]):
            made = dataset(np.ascontiguousarray(volume[..., k].T), **geometry(affine, k))
            change(made, t, k)
            save(made, folder / f"{(7 * t + 3 * k) % 97:02d}-{t}-{k}.dcm")


def same_world(
    found: np.ndarray[Any, Any], where: AffineMatrix, array: np.ndarray[Any, Any], affine: AffineMatrix
) -> str | None:
    """Say how two images (C, I, J, K) differ in the world, None where each voxel is where it should be."""
    move = np.array((where.inverse() @ affine).rows)
    turn, shift = np.round(move[:3, :3]), np.round(move[:3, 3]).astype(int)
    if np.abs(move[:3, :3] - turn).max() > 1e-6 or np.abs(move[:3, 3] - shift).max() > 1e-4:
        return f"affine {where.rows}, expected {affine.rows} up to whole voxels"
    voxels: Sequence[Any] = np.indices(array.shape[1:]).reshape(3, -1)
    places = (turn.astype(int) @ voxels) + shift[:, None]
    if places.min() < 0 or (places.max(axis=1) >= found.shape[1:]).any():
        return "some voxels have no counterpart"
    different = found[(slice(None), *places)] != array.reshape(array.shape[0], -1)
    return f"{int(different.sum())} voxels differ" if different.any() else None
