"""Options that several commands share.

A handler names the option group that it wants as a parameter, and :func:`with_options` makes options of it::

    @with_options
    def convert(paths: InOut = None, strict: bool = False, *, batch: BatchOptions, console: Console) -> int:
        ...

Typer then sees ``--force``, ``--output-dir``, ``--verbose`` and the rest; the handler gets frozen values. A group is a
frozen dataclass and one row of :data:`GROUPS`: the heading under which help and man pages list its options, and one row
per option, named as the field of the dataclass that it fills.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from medimg_cli.cli.render import Console
from medimg_cli.expanding import TEMPLATE

if TYPE_CHECKING:
    from medimg_cli.batch import BatchOptions, ClusterOptions, OneOutput, OnePage, PictureOptions
    from medimg_cli.checks.config import Wishes
    from medimg_cli.formats.reading import Reading
    from medimg_cli.media.look import Look, PageLook, SurveyLook

__all__ = [
    "FULL",
    "GROUPS",
    "RANGE",
    "Form",
    "Group",
    "InOut",
    "Level",
    "Option",
    "Paths",
    "Strict",
    "command_help",
    "known_maps",
    "known_suffixes",
    "known_windows",
    "spell_out",
    "with_options",
]

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Images, or - for standard input.", show_default=False),
]
InOut = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IN... OUT",
        help="Inputs, and last the output (no output with --output-dir); - is standard input or output.",
        show_default=False,
    ),
]
Form = Annotated[Literal["table", "json", "jsonl", "csv"], typer.Option("--format", help="How to print the facts.")]

RANGE = "[MIN:MAX]"
"""Metavar of an option whose value may be left out, which means :data:`FULL`."""
FULL = "full"

Level = Annotated[
    int | None,
    typer.Option(metavar="N", help="0 to 9; 1 to 3 are fast, 4 to 9 small. Default: 2.", show_default=False),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse, before a file appears, what the output could not hold.")
]


def known_suffixes() -> list[str]:
    """Return every file name suffix that can be written; shells complete them."""
    from medimg_cli.formats import FORMATS

    endings = {(ending, row.compressed) for row in FORMATS if row.writes for ending in row.suffixes}
    plain = {ending for ending, _ in endings}
    return sorted(plain | {f"{ending}.gz" for ending, compressed in endings if compressed and ending != ".mgz"})


def known_windows() -> list[str]:
    """Return the windows that have a name; shells complete them."""
    from medimg_cli.media.window import PRESETS

    return [*PRESETS, "auto", "full"]


def known_maps() -> list[str]:
    """Return the names of colour maps; shells complete them."""
    from medimg_cli.media.colormaps import COLORMAPS

    return sorted(COLORMAPS)


class Option(NamedTuple):
    """One option of a group.

    Parameters
    ----------
    help : str
        One or two sentences.
    kind : type
        What Typer parses.
    default : object
    metavar : str, optional
        What stands for the value in help; FILE and DIR also say what shells complete.
    short : str, optional
        "-f" and the like.
    values : callable, optional
        Returns the values that shells complete.
    """

    help: str
    kind: Any = bool
    default: Any = False
    metavar: str | None = None
    short: str | None = None
    values: Callable[[], list[str]] | None = None


class Group(NamedTuple):
    """The options that stand for one frozen dataclass.

    Parameters
    ----------
    heading : str
        Title in help and man pages.
    options : mapping of str to Option
        By field of the dataclass; the option is that name with dashes.
    build : callable
        (option values, Typer's context) -> what the handler gets.
    """

    heading: str
    options: Mapping[str, Option]
    build: Callable[[Mapping[str, Any], typer.Context], Any]

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as parameters that Typer understands."""
        rows = []
        for name, option in self.options.items():
            words = [f"--{name.replace('_', '-')}", *([option.short] if option.short else [])]
            info = typer.Option(
                *words,
                help=option.help,
                metavar=option.metavar,
                rich_help_panel=self.heading,
                show_default=option.default not in (None, False),
                autocompletion=option.values,
            )
            kind, annotation = inspect.Parameter.KEYWORD_ONLY, Annotated[option.kind, info]
            rows.append(inspect.Parameter(name, kind, default=option.default, annotation=annotation))
        return rows


def _console(values: Mapping[str, Any], context: typer.Context) -> Console:
    """Build the console from the options of this command over those in front of it."""
    outer = context.parent.obj if context.parent is not None else None
    outer = outer if isinstance(outer, Console) else Console()
    console = Console(
        verbose=outer.verbose or values["verbose"],
        quiet=outer.quiet or values["quiet"],
        debug=outer.debug or values["debug"],
        color=values["color"] or outer.color,
    )
    context.obj = console
    return console


def _batch(values: Mapping[str, Any], context: typer.Context) -> BatchOptions:
    from medimg_cli.batch import BatchOptions

    return BatchOptions(**values)


def _pictures(values: Mapping[str, Any], context: typer.Context) -> PictureOptions:
    from medimg_cli.batch import PictureOptions

    return PictureOptions(**values)


def _cluster(values: Mapping[str, Any], context: typer.Context) -> ClusterOptions:
    from medimg_cli.batch import ClusterOptions

    return ClusterOptions(**values)


def _reading(values: Mapping[str, Any], context: typer.Context) -> Reading:
    from medimg_cli.formats.reading import Reading

    return Reading(**values)


def _wishes(values: Mapping[str, Any], context: typer.Context) -> Wishes:
    from medimg_cli.checks.config import Wishes

    given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
    return Wishes(**given)


def _look(values: Mapping[str, Any], context: typer.Context) -> Look:
    from medimg_cli.media.look import Look

    return Look(**values)


def _page_look(values: Mapping[str, Any], context: typer.Context) -> PageLook:
    from medimg_cli.media.look import PageLook

    return PageLook(**values)


def _survey_look(values: Mapping[str, Any], context: typer.Context) -> SurveyLook:
    from medimg_cli.media.look import SurveyLook

    return SurveyLook(**values)


def _one_output(values: Mapping[str, Any], context: typer.Context) -> OneOutput:
    from medimg_cli.batch import OneOutput

    return OneOutput(**values)


def _one_page(values: Mapping[str, Any], context: typer.Context) -> OnePage:
    from medimg_cli.batch import OnePage

    return OnePage(**values)


_FORCE = Option("Replace existing outputs.", short="-f")
_DRY_RUN = Option("Print what would be written, and write nothing.")
_JOBS = Option("Work on N images at a time; 0 is one per core.", int, 1, "N", "-j")
_SKIP_EXISTING = Option("Do nothing where the output exists.")
_IF_NEWER = Option("Replace the output only where it is older than one of the inputs.")
_FILES_FROM = Option("Read more inputs from FILE, one a line; - is standard input.", str | None, None, "FILE")

_BATCH: Mapping[str, Option] = {
    "force": _FORCE,
    "output_dir": Option(
        "Write one output per input into this folder. It is made when missing and keeps the tree below the "
        "common root of the inputs; two inputs for one output are refused.",
        *(str | None, None, "DIR"),
    ),
    "suffix": Option(
        "Suffix, and so format, of outputs in --output-dir (.nrrd, _ras.nii.gz), or of an output that is -.",
        *(str | None, None, "SUFFIX"),
        values=known_suffixes,
    ),
    "name": Option(
        "Names of the outputs of series of DICOM, in a folder for each input; without it, one series alone is called "
        "like its input. Fields: number, description, modality, label, index, uid, folder.",
        *(str, TEMPLATE, "TEMPLATE"),
    ),
    "jobs": _JOBS,
    "skip_existing": Option("Leave out inputs whose output exists."),
    "if_newer": Option("Replace only outputs that are older than their input."),
    "dry_run": _DRY_RUN,
    "files_from": _FILES_FROM,
    "report": Option("Write one JSON line per input to FILE.jsonl; - is standard output.", str | None, None, "FILE"),
}
_SCHEDULER = Option(
    "Hand the images to the Dask cluster of this scheduler, tcp://HOST:8786; its workers see the same files.",
    *(str | None, None, "ADDRESS"),
)

_READING: Mapping[str, Option] = {
    "series": Option(
        "Which series of a folder or archive: UID, number, pattern of the description (*T1*), or @N of 'medimg dicom'.",
        *(str | None, None, "SERIES"),
    ),
    "gaps": Option(
        "Where slices are missing, double or uneven: refuse; ignore, taking them for even; resample between them.",
        *(Literal["refuse", "ignore", "resample"], "refuse"),
    ),
    "tolerance": Option(
        "How far a slice may lie off its place. Default: 1% of the step, at least 0.01 mm.", float | None, None, "MM"
    ),
    "untilt": Option("Resample slices of a tilted gantry to a grid of right angles."),
}

_LOOK: Mapping[str, Option] = {
    "window": Option(
        "Values shown black and white: brain, lung, bone, soft, CENTER,WIDTH, LOW:HIGH, 1%:99%, full. Default: "
        "that of the file, else 0.5%:99.5%.",
        *(str | None, None, "WINDOW"),
        values=known_windows,
    ),
    "colormap": Option("Colours of intensities: viridis, magma ...", str, "gray", "NAME", values=known_maps),
    "channel": Option("Channel or time step that is shown, from 0; -1 is the last.", int, 0, "N"),
    "overlay": Option("Draw this label map over it, on whatever grid it lies.", str | None, None, "FILE"),
    "outline": Option("Draw the overlay's labels as outlines."),
    "opacity": Option("Of the overlay, 0 to 1. Default: 0.5; 1 for outlines.", float | None, None, "0-1"),
    "neurological": Option("Show the patient's left on the left. Default: radiological, on the right."),
    "planes": Option(
        "stored: of the voxels; straight: of the body, interpolated; auto: straight if tilted by over 10 degrees "
        "(slice: stored).",
        *(Literal["auto", "stored", "straight"], "auto"),
    ),
    "kind": Option(
        "Take values for labels or intensities; auto asks the header, then the voxels.",
        Literal["auto", "labels", "intensities"],
        "auto",
    ),
    "plain": Option("Leave out letters, scale bar and captions."),
}
_RULES: Mapping[str, Option] = {
    "select": Option(
        "Rules to check, in place of the usual ones: a code (H001), a letter (H), a name, or all; may be repeated.",
        *(list[str] | None, None, "RULE"),
    ),
    "extend_select": Option("Rules to check beside the others; may be repeated.", list[str] | None, None, "RULE"),
    "ignore": Option("Rules to leave out; may be repeated.", list[str] | None, None, "RULE"),
    "expect": Option(
        "What must hold: 'spacing <= 1.0', 'orientation = RAS', 'dtype in [int16, uint8]'; may be repeated.",
        *(list[str] | None, None, "TEXT"),
    ),
    "pair": Option(
        "Which label map belongs to which image: 'images/*.nii.gz' 'labels/{name}'.",
        *(tuple[str, str] | None, None, "IMAGES LABELS"),
    ),
    "header_only": Option("Leave out rules that read voxels."),
    "error_on": Option(
        "Severity from which a finding makes the exit code 1. Default: error.",
        *(Literal["error", "warning", "info"] | None, None),
    ),
    "baseline": Option("Say nothing of findings that this file knows.", str | None, None, "FILE"),
    "config": Option(
        "Configuration file. Default: the nearest medimg.toml, or pyproject.toml with [tool.medimg].",
        *(str | None, None, "FILE"),
    ),
    "isolated": Option("Look for no configuration file."),
}
_OF_OVERLAYS = ("overlay", "outline", "opacity")

GROUPS: Mapping[str, Group] = {
    "medimg_cli.batch.BatchOptions": Group("Output and batches", _BATCH, _batch),
    "medimg_cli.batch.PictureOptions": Group(
        "Output and batches",
        {
            **_BATCH,
            "suffix": Option("Suffix, and so format, of outputs in --output-dir or of -.", str | None, None, "SUFFIX"),
        },
        _pictures,
    ),
    "medimg_cli.batch.ClusterOptions": Group("Output and batches", {**_BATCH, "scheduler": _SCHEDULER}, _cluster),
    "medimg_cli.batch.OneOutput": Group(
        "Output",
        {
            "force": _FORCE,
            "suffix": Option(
                "Suffix, and so format, of an output that is -.", str | None, None, "SUFFIX", values=known_suffixes
            ),
            "skip_existing": _SKIP_EXISTING,
            "if_newer": _IF_NEWER,
            "dry_run": _DRY_RUN,
            "files_from": _FILES_FROM,
            "report": Option("Write one JSON line to FILE.jsonl; - is standard output.", str | None, None, "FILE"),
        },
        _one_output,
    ),
    "medimg_cli.batch.OnePage": Group(
        "Output",
        {
            "force": _FORCE,
            "jobs": _JOBS,
            "skip_existing": _SKIP_EXISTING,
            "if_newer": _IF_NEWER,
            "dry_run": _DRY_RUN,
            "files_from": _FILES_FROM,
        },
        _one_page,
    ),
    "medimg_cli.checks.config.Wishes": Group("Rules", _RULES, _wishes),
    "medimg_cli.media.look.Look": Group("Picture", _LOOK, _look),
    "medimg_cli.media.look.PageLook": Group(
        "Picture", {k: option for k, option in _LOOK.items() if k not in ("overlay", "plain")}, _page_look
    ),
    "medimg_cli.media.look.SurveyLook": Group(
        "Picture", {k: option for k, option in _LOOK.items() if k not in _OF_OVERLAYS}, _survey_look
    ),
    "medimg_cli.formats.reading.Reading": Group("DICOM", _READING, _reading),
    "medimg_cli.batch.GatheredReading": Group(
        "DICOM", {k: option for k, option in _READING.items() if k != "tolerance"}, _reading
    ),
    "medimg_cli.cli.render.Console": Group(
        "General",
        {
            "verbose": Option("Say more on standard error.", short="-v"),
            "quiet": Option("Say errors only.", short="-q"),
            "debug": Option("Show the traceback of an error."),
            "color": Option(
                "Colour; auto: on a terminal, unless NO_COLOR is set, or where FORCE_COLOR is.",
                *(Literal["auto", "always", "never"] | None, None),
            ),
        },
        _console,
    ),
}
"""Option groups by the full name of the dataclass that a handler gets; to add one, give it a row."""


def with_options(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Replace each parameter that is annotated with a dataclass of :data:`GROUPS` by the options of that group.

    Parameters
    ----------
    handler : callable
        A command function; its other parameters are Typer's as ever.

    Returns
    -------
    callable
        What Typer sees. Called with option values, it hands frozen values to ``handler``.
    """
    own, groups = [], {}
    for parameter in inspect.signature(handler, eval_str=True).parameters.values():
        kind = parameter.annotation
        group = GROUPS.get(f"{kind.__module__}.{kind.__qualname__}") if isinstance(kind, type) else None
        if group is not None:
            groups[parameter.name] = group
        else:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(handler)
    def command(_context: typer.Context, **values: Any) -> Any:
        taken = {name: {key: values.pop(key) for key in group.options} for name, group in groups.items()}
        built = {name: group.build(taken[name], _context) for name, group in groups.items()}
        return handler(**values, **built)

    context = inspect.Parameter("_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *own, *(row for group in groups.values() for row in group.parameters())]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def command_help(text: str) -> str:
    """Mark the indented blocks of a docstring so that help keeps their lines.

    Parameters
    ----------
    text : str
        A clean docstring: prose paragraphs, and examples indented below them.
    """
    blocks = text.split("\n\n")
    return "\n\n".join(f"\b\n{block}" if block.startswith(" ") else block for block in blocks)


def spell_out(words: Sequence[str], ranges: Collection[str]) -> Iterator[str]:
    """Give range options that have no value the value that this means.

    Parameters
    ----------
    words : sequence of str
        A command line.
    ranges : collection of str
        Options with the metavar :data:`RANGE`. The word behind one is its value if it is :data:`FULL` or MIN:MAX.

    Examples
    --------
    >>> list(spell_out(["--rescale", "in.nii", "out.nii"], ["--rescale"]))
    ['--rescale=full', 'in.nii', 'out.nii']
    >>> list(spell_out(["--rescale", "-1:1.5", "in.nii"], ["--rescale"]))
    ['--rescale=-1:1.5', 'in.nii']
    """
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            yield from (word, *rest)
            return
        if word in ranges:
            word += f"={rest.pop(0)}" if rest and (rest[0] == FULL or _is_range(rest[0])) else f"={FULL}"
        yield word


def _is_range(word: str) -> bool:
    low, _, high = word.partition(":")
    try:
        return float(low) == float(low) and float(high) == float(high)
    except ValueError:
        return False
