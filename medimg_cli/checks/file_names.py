"""What names of files and folders say in the data sets of the field: label maps, kinds of images, subjects."""

from __future__ import annotations

import os
import re

__all__ = ["kind_of", "named_labels", "subject_of"]

#: Last words of names: BIDS (``_dseg``, ``_mask``), 3D Slicer (``-label``, ``.seg.nrrd``), FSL (``_pveseg``), ITK-SNAP,
#: BraTS, KiTS and LiTS (``_seg``, ``segmentation-3``), FreeSurfer (``ribbon``, ``wmparc``).
_LAST = frozenset(
    ("dseg", "mask", "masks", "label", "labels", "labelmap", "seg", "segm", "segmentation", "pveseg")
    + ("parc", "parcellation", "ribbon", "wmparc", "aseg")
)
#: Words anywhere in a name: FreeSurfer's ``aparc.a2009s+aseg.mgz``, ``aseg.presurf.mgz``, ``lh.hippoSfLabels-T1.mgz``.
_ANYWHERE = frozenset(("aseg", "wmparc", "hipposflabels", "hippoamyglabels"))
#: Words that tell of numbers between labels: BIDS ``_probseg``, FSL ``_pve_0``.
_NEVER = frozenset(
    ("probseg", "prob", "probs", "probability", "probabilities", "pve", "softmax", "logits", "soft", "sdf", "distance")
)
#: Folders in which nothing but label maps lies: nnU-Net, Medical Segmentation Decathlon, OME-Zarr, TotalSegmentator.
_FOLDERS = frozenset(("labels", "labelstr", "labelsts", "labelsval", "masks", "segmentations"))
#: Names of modalities, as parts of file names.
_MODALITIES = frozenset(
    ("t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t1map", "mprage", "t2", "t2w", "t2f", "t2map", "t2star", "t2starw")
    + ("flair", "pd", "pdw", "dwi", "adc", "dti", "fa", "bold", "epi", "asl", "swi", "mra", "tof", "ct", "cta", "cbct")
    + ("pet", "suv", "spect", "us", "mr", "mri", "b0", "b1000", "cbf", "magnitude", "phase", "inv1", "inv2", "uni")
)
_NNUNET = re.compile(r".*_(\d{4})$")
#: Entities of BIDS that tell images of one kind apart.
_WHICH = ("sub-", "ses-", "run-")
_SEPARATORS = re.compile(r"[-_.+ ]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def named_labels(path: str) -> bool:
    """Tell whether an image is named, or lies, where the data sets of the field have label maps.

    Names that may mean either are not taken for label maps: FreeSurfer's ``brainmask.mgz`` holds intensities, FSL's
    ``_roi`` a cropped image, ``_probseg`` and ``_pve_0`` probabilities.

    Parameters
    ----------
    path : str
        As the user named it, or a URL.

    Examples
    --------
    >>> named_labels("sub-01/anat/sub-01_desc-aseg_dseg.nii.gz"), named_labels("labelsTr/case_001.nii.gz")
    (True, True)
    >>> named_labels("sub-01_label-GM_probseg.nii.gz"), named_labels("mri/brainmask.mgz")
    (False, False)
    """
    from medimg_cli.formats import split_suffix

    folder, base = os.path.split(split_suffix(path)[0])
    words = [word for word in _SEPARATORS.split(base) if word]
    if not _NEVER.isdisjoint(part.lower() for word in words for part in _HUMPS.split(word)):
        return False
    if os.path.basename(folder).lower() in _FOLDERS or not _ANYWHERE.isdisjoint(word.lower() for word in words):
        return True
    while len(words) > 1 and words[-1].isdecimal():
        words.pop()
    return bool(words) and _HUMPS.split(words[-1])[-1].lower() in _LAST


def kind_of(path: str) -> str:
    """Return what tells the kind of image from others of a data set.

    Of a name of BIDS all but subject, session and run; else the channel of nnU-Net with the folder, or a modality in
    the name; else the folder.

    >>> kind_of("ds/sub-01/anat/sub-01_run-1_T1w.nii.gz"), kind_of("train/imagesTr/case_7_0001.nii.gz")
    ('T1w', 'train/imagesTr 0001')
    >>> kind_of("brats/case_1/case_1_flair.nii.gz"), kind_of("set/images/7.nii")
    ('flair', 'set/images')
    """
    from medimg_cli.formats import split_suffix

    folder, name = os.path.split(split_suffix(path)[0])
    if name.startswith("sub-"):
        return "_".join(part for part in name.split("_") if not part.startswith(_WHICH))
    channel = _NNUNET.match(name)
    if channel is not None:
        return f"{folder} {channel[1]}"
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word in _MODALITIES]
    return words[-1] if words else folder


def subject_of(path: str) -> tuple[str, bool]:
    """Return what images of one subject, and of one session, have in common, and whether that is sure.

    >>> subject_of("ds/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"), subject_of("imagesTr/case_7_0001.nii.gz")
    (('sub-01 ses-2', True), ('imagesTr/case_7', True))
    >>> subject_of("ixi/IXI012-T1.nii.gz") == subject_of("ixi/IXI012-T2.nii.gz"), subject_of("brain/a.nii")
    (True, ('brain', False))
    """
    from medimg_cli.formats import split_suffix

    labels = [re.findall(rf"(?:^|[/_])({entity}-[A-Za-z0-9]+)(?=[_/.]|$)", path) for entity in ("sub", "ses")]
    if labels[0]:
        return " ".join(each[-1] for each in labels if each), True
    folder, name = os.path.split(split_suffix(path)[0])
    channel = re.fullmatch(r"(.+)_\d{4}", name)
    if channel is not None:
        return f"{folder}/{channel[1]}", True
    words = re.split(r"([^A-Za-z0-9]+)", name)
    rest = [word for word in words if word.lower() not in _MODALITIES]
    if len(rest) < len(words) and any(any(c.isalnum() for c in word) for word in rest):
        return f"{folder}/{''.join(rest)}", True
    return folder, False
