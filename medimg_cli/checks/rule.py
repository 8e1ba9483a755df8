"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.checks.subject import Subject
    from medimg_cli.storage.stored import Region

__all__ = ["SCHEMA", "SEVERITIES", "Finding", "Found", "Gatherer", "Mend", "Rule", "Severity", "fails"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""From the worst down."""

SCHEMA = "medimg.check/1"
"""What a record of a finding says that it is."""


class Found(NamedTuple):
    """What a rule has found.

    Parameters
    ----------
    message : str
        One sentence without its end: what was found, with numbers and units, and what was expected. Nothing that tells
        who a patient is.
    voxel : (i, j, k), optional
        Where, in voxels.
    world : (x, y, z), optional
        Where, RAS+ in mm.
    path, series : str and int, optional
        Of which image, where a rule looks at several; the image under examination where left out.
    """

    message: str
    voxel: tuple[int, int, int] | None = None
    world: tuple[float, float, float] | None = None
    path: str | None = None
    series: int | None = None


class Gatherer(Protocol):
    """Gathers facts in the one pass over the voxels of an image; several look at the same blocks."""

    def __init__(self, subject: Subject) -> None: ...

    @staticmethod
    def wants(subject: Subject) -> bool:
        """Tell from the header and the settings of an image whether there is anything to gather."""
        ...

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        """Take in stored numbers (C, I, J, K) of a region; they are valid until the next call."""
        ...

    def result(self) -> Any:
        """Return what was gathered: small, and it pickles."""
        ...


class Mend(NamedTuple):
    """What ``--fix`` changes in a file so that a rule is kept: no voxel, no place of a voxel, no fact that is lost.

    Parameters
    ----------
    fields : mapping of str to number, tuple or bytes
        Raw fields of a NIfTI header, under the names of `nifti_fields`, and their new values.
    tidy : bool
        Whether extender, extensions and the offset of the voxels are laid out anew, as NIfTI wants them.
    cut : bool
        Whether bytes behind the voxels are left out.
    recode : bool
        Whether the file becomes compressed, or plain, as its name says.
    """

    fields: Mapping[str, Any] = {}
    tidy: bool = False
    cut: bool = False
    recode: bool = False


class Rule(NamedTuple):
    """One row: what may be wrong, how bad it is, and who looks for it.

    Parameters
    ----------
    code : str
        Letter of the group and three digits.
    name : str
        Words with dashes, for people.
    severity : str
        "error": the data are wrong, or nobody can tell; "warning": somebody will read them wrong, or lose something;
        "info": worth knowing.
    check : callable
        Takes a `Subject` and yields `Found`; of a rule over a set, a `DataSet`.
    says : str
        What holds where the rule is kept, one sentence.
    why, example, remedy : str
        Paragraphs for ``--explain`` and the documentation: why it matters, a file that breaks it, what to do.
    voxels : bool
        Whether voxels must have been read, to the end.
    gathers : tuple of types
        The `Gatherer` classes whose results it asks for; ``voxels`` goes without saying then.
    over : str
        "image", or "set": all images of a run together.
    deeper : bool
        Whether it has more to say once voxels were read to their end; where only headers are read, it looks at these.
    unread : bool
        Whether the rule also looks at what cannot be opened or read to its end.
    on : bool
        Whether the rule holds where nobody selects rules.
    needs : str
        Property of `Settings` without which the rule has nothing to say, and is left out: "of_header" or "of_values";
        "" of most.
    mend : callable, optional
        Takes a `Subject` that breaks the rule, and returns a `Mend`; None where this very file cannot be mended safely.
        See `fixing`.
    """

    code: str
    name: str
    severity: Severity
    check: Callable[[Any], Iterable[Found]]
    says: str
    why: str = ""
    example: str = ""
    remedy: str = ""
    voxels: bool = False
    gathers: tuple[type[Gatherer], ...] = ()
    over: Literal["image", "set"] = "image"
    deeper: bool = False
    unread: bool = False
    on: bool = True
    needs: Literal["", "of_header", "of_values"] = ""
    mend: Callable[[Subject], Mend | None] | None = None

    @property
    def reads_voxels(self) -> bool:
        """Whether anything but headers is read for it."""
        return self.voxels or bool(self.gathers)

    @property
    def reads(self) -> str:
        """What is read for it, in words."""
        return "voxels" if self.reads_voxels else "headers, then voxels" if self.deeper else "headers"


class Finding(NamedTuple):
    """A rule that is broken, and where.

    Parameters
    ----------
    code, rule : str
        Of the rule: its code, its name.
    severity : str
        "error", "warning" or "info", as the settings of the path have it.
    path : str
        As the user named it, or as it was found below a folder that the user named.
    message : str
        One sentence.
    series : int or None
        Which series of a path that holds several, as ``@N``.
    voxel, world : three numbers, or None
        Where in the image; world in mm, RAS+.
    fixable : bool
        Whether ``--fix`` mends it.
    fixed : bool
        Whether it has just been mended.
    """

    code: str
    rule: str
    severity: Severity
    path: str
    message: str
    series: int | None = None
    voxel: tuple[int, int, int] | None = None
    world: tuple[float, float, float] | None = None
    fixable: bool = False
    fixed: bool = False

    def facts(self) -> Mapping[str, Any]:
        """Return the record of the finding."""
        return {
            "schema": SCHEMA,
            "path": self.path,
            "series": self.series,
            "code": self.code,
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "voxel": None if self.voxel is None else list(self.voxel),
            "world_mm": None if self.world is None else list(self.world),
            "fixable": self.fixable,
            "fixed": self.fixed,
        }


def fails(finding: Finding, error_on: Severity) -> bool:
    """Tell whether a finding makes the exit code 1: it is as bad as ``error_on`` or worse, and not mended."""
    return not finding.fixed and SEVERITIES.index(finding.severity) <= SEVERITIES.index(error_on)
