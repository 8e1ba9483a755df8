"""Which names the data sets of the field give to label maps."""

from __future__ import annotations

import os
import re

__all__ = ["named_labels"]

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
