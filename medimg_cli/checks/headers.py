"""Rules about headers: whether what they say makes sense, and agrees with itself. No voxel is read for them."""

from __future__ import annotations

from collections.abc import Iterator

from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject

__all__ = ["RULES"]


def _forms_apart(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.sform is None or header.qform is None or not header.sform_code or not header.qform_code:
        return
    apart = header.sform.mm_shift(header.qform, header.spatial_shape)
    if apart > subject.settings.limit("forms-mm"):
        yield Found(f"sform and qform are {apart:.3g} mm apart")


RULES = (
    Rule(
        "H001",
        "forms-disagree",
        "warning",
        _forms_apart,
        "sform and qform put voxels in the same places.",
        why="Tools differ in which of the two they use, so the image lies in two places.",
        example="A rigid registration that was written into the sform only.",
        remedy="`medimg convert --affine sform` or `--affine qform` keeps the right one.",
    ),
)
