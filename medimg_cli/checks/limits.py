"""The numbers that rules compare with; ``[check.limits]`` of a configuration changes them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One row: a number that a rule compares with.

    Parameters
    ----------
    name : str
        As in a configuration.
    value : float
        Where nobody says otherwise.
    says : str
        What it is, with its unit; one sentence.
    """

    name: str
    value: float
    says: str


LIMITS: tuple[Limit, ...] = (
    Limit("grid-mm", 0.01, "Distance in mm up to which two grids are the same."),
    Limit("forms-mm", 0.1, "Distance in mm up to which sform and qform agree."),
    Limit("forms-degrees", 45, "Angle in degrees up to which both forms turn a voxel axis the same way."),
    Limit("shear-degrees", 0.1, "Angle in degrees that voxel axes may be off a right angle."),
    Limit("spacing-share", 0.001, "Share by which voxel sizes in pixdim may differ from those of the affine."),
    Limit("spacing-mm-least", 0.002, "Length in mm of the smallest voxel, microscopy left out."),
    Limit("spacing-mm-most", 50, "Length in mm of the largest voxel."),
    Limit("anisotropy", 100, "How many times as long as wide a voxel may be."),
    Limit("extent-mm-least", 1, "Length in mm of the smallest image, microscopy left out."),
    Limit("extent-mm-most", 3000, "Length in mm of the largest image."),
    Limit("center-mm", 2000, "Distance in mm of an image's centre from the world's origin."),
    Limit("time-step-least", 0.01, "Shortest time step in seconds of a header that counts in ms or us."),
    Limit("time-step-most", 100, "Longest time step in seconds."),
    Limit("sidecar-seconds", 0.01, "Seconds by which a time in a sidecar may differ from the header."),
    Limit("direction-length", 0.01, "How far the length of a gradient direction may be off 1."),
    Limit("zero-b", 50, "b-value in s/mm2 up to which a volume needs no direction."),
    Limit("pair-voxels", 0.1, "Distance in voxels up to which an image and its label map lie in the same place."),
    Limit("set-least", 8, "Images of one kind from which one may be told to be unlike the others."),
    Limit("set-agree", 0.9, "Share of images of one kind that must agree before the others are odd."),
    Limit("outlier-deviations", 6, "Deviations from the median of its kind from which spacing or size is odd."),
    Limit("mirror-gain", 0.05, "Share by which an image must fit others of its subject better when it is mirrored."),
    Limit("island-voxels", 4, "Voxels from which a piece of a label is no island, but a part of it."),
    Limit("labels-most", 4096, "Different values from which an image is hardly a label map."),
    Limit("clipped-share", 0.0001, "Share of all values that must lie at a limit of their type to look clipped."),
    Limit("levels-least", 16, "Different values up to which an image of fractions has too few."),
    Limit("range-share", 0.01, "Share of the numbers of its type that a scaled image uses at least."),
    Limit("content-share", 0.25, "Share of the lines of a slice that hold more than one value, where it is full."),
    Limit("tilt-degrees", 0.01, "Angle in degrees by which slices of a series may be tilted."),
)
"""All limits by group of rules; to add one, give it a row."""
