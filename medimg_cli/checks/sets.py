"""Rules about several images together: pairs of image and label map, and data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medimg_cli.checks.config import Config
from medimg_cli.checks.rule import Rule
from medimg_cli.checks.subject import Profile

__all__ = ["RULES", "DataSet"]


class DataSet(NamedTuple):
    """All images of a run: what rules over sets look at.

    Parameters
    ----------
    profiles : sequence of Profile
        The images that could be opened, in the order of the paths.
    config : Config
        Its ``pairs`` say which label map belongs to which image.
    paths : sequence of str
        All paths that were looked at, also those that could not be opened.
    """

    profiles: Sequence[Profile]
    config: Config
    paths: Sequence[str]


RULES: tuple[Rule, ...] = ()
