"""All images of a run, and which label map belongs to which image: what rules over sets look at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from medimg_cli.checks.config import Config
from medimg_cli.checks.outliers import kinds
from medimg_cli.checks.pairing import Paired, paired
from medimg_cli.checks.subject import Profile

__all__ = ["DataSet"]


class DataSet:
    """All images of a run.

    Parameters
    ----------
    profiles : sequence of Profile
        The images that could be opened, in the order of the paths.
    config : Config
        Its ``pairs`` say which label map belongs to which image.
    paths : sequence of str
        All paths that were looked at, also those that could not be opened.
    """

    def __init__(self, profiles: Sequence[Profile], config: Config, paths: Sequence[str]) -> None:
        self.profiles, self.config, self.paths = profiles, config, paths

    @cached_property
    def kinds(self) -> tuple[tuple[Profile, ...], ...]:
        """Images of a kind, where there are enough of them; see `outliers.kinds`."""
        return kinds(self.profiles)

    @cached_property
    def pairs(self) -> tuple[Paired, ...]:
        """Images and their label maps, as the patterns of the settings say; see `pairing.paired`.

        Raises
        ------
        UsageError
            If a pattern makes no sense.
        """
        return paired(self)
