"""The command line itself: the table of commands, the global options, and the one error boundary.

A command is a row of :data:`COMMANDS`. Its module is imported when the command runs, never before: ``medimg --help``
knows no more than the table. Typer parses; errors, exit codes and signals are ours (:func:`main`).
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import cleandoc
from typing import Annotated, Any, NamedTuple, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from medimg_cli.cli.options import RANGE, command_help, spell_out, with_options
from medimg_cli.cli.render import Console
from medimg_cli.errors import UsageError

__all__ = ["COMMANDS", "Command", "build", "group", "heading", "is_argument", "main"]


class Command(NamedTuple):
    """One row of the command table.

    Parameters
    ----------
    name : str
        What the user types.
    target : str
        "module:function" of its handler, imported when the command runs.
    help : str
        One line for ``medimg --help``, the README and the man page.
    """

    name: str
    target: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("info", "medimg_cli.cli.info:info", "Show what image files say about themselves."),
    Command("dicom", "medimg_cli.cli.dicom:dicom", "List the series of DICOM folders, and what is wrong with them."),
    Command("convert", "medimg_cli.cli.convert:convert", "Convert images from any format to any other."),
    Command("reorient", "medimg_cli.cli.reorient:reorient", "Turn and flip how images are stored, not their anatomy."),
    Command("slice", "medimg_cli.cli.slice:slice_", "Cut a part out of an image, by index or by anatomy."),
    Command("resample", "medimg_cli.cli.resample:resample", "Compute images on another grid, labels kept apart."),
    Command("crop", "medimg_cli.cli.crop:crop", "Keep a box of an image, by amounts, anatomy or a mask."),
    Command("pad", "medimg_cli.cli.pad:pad", "Add voxels around an image, which stays where it was."),
    Command("merge", "medimg_cli.cli.merge:merge", "Put several images into one: channels, time, or slabs."),
    Command("split", "medimg_cli.cli.split:split", "Write the channels, time steps or slabs of an image apart."),
    Command("edit", "medimg_cli.cli.edit:edit", "Change what headers say; voxels stay as they are."),
    Command("undo", "medimg_cli.cli.undo:undo", "Return images to the grid before crop, resample and the rest."),
    Command("stats", "medimg_cli.cli.stats:stats", "Describe the values of images, per channel and per label."),
    Command("labels", "medimg_cli.cli.labels:labels", "List the labels of label maps, renumber, keep or merge them."),
    Command("diff", "medimg_cli.cli.diff:diff", "Compare two images: geometry, types, metadata, labels, voxels."),
    Command("hash", "medimg_cli.cli.hash:hash_", "Print hashes of images, write manifests of them, verify those."),
    Command("check", "medimg_cli.cli.check:check", "Find what is wrong with images, before somebody uses them."),
    Command("plot", "medimg_cli.cli.plot:plot", "Draw three views of an image, or a mosaic, as a picture."),
    Command("show", "medimg_cli.cli.show:show", "Show images in the terminal, and let keys move through them."),
    Command("gif", "medimg_cli.cli.gif:gif", "Write a sweep through an image as animated GIF or WebP."),
    Command("video", "medimg_cli.cli.video:video", "Write a sweep through an image as MP4 or WebM video."),
    Command("view", "medimg_cli.cli.view:view", "Write images into HTML pages with a viewer that needs no network."),
    Command("report", "medimg_cli.cli.report:report", "Write one page of thumbnails and facts of a data set."),
    Command("formats", "medimg_cli.cli.formats:formats", "List the formats that can be read and written here."),
    Command("example", "medimg_cli.cli.example:example", "Print the path of a real image to try things on."),
)
"""All commands, in the order in which help lists them; to add one, write its module and give it a row."""

_PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_MORE = "medimg COMMAND --help says more, with examples."


class _Grouped(TyperCommand):
    """A command whose help lists its options under the headings of their groups."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ranges = [word for option in self.params if option.metavar == RANGE for word in option.opts]
        return super().parse_args(ctx, list(spell_out(args, ranges)) if ranges else args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments: list[Any] = [parameter for parameter in self.params if is_argument(parameter)]
        return ["[OPTIONS]", *(argument.metavar for argument in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            own = (parameter.metavar, parameter.help or "") if is_argument(parameter) else None
            record = own or parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(heading(parameter), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def is_argument(parameter: Any) -> bool:
    """Tell whether a parameter of a command goes by position; its metavar and help are then set."""
    return bool(parameter.param_type_name == "argument")


def heading(parameter: Any) -> str:
    """Return the title under which help and man pages list a parameter of a command."""
    if is_argument(parameter):
        return "Arguments"
    return "General" if "--help" in parameter.opts else parameter.rich_help_panel or "Options"


class _Lazy(TyperGroup):
    """The group of all commands; it imports a command's module when that command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [row.name for row in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return next((build(row) for row in COMMANDS if row.name == cmd_name), None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise UsageError(f"no such command {args[0]!r}", hint=_meant(args[0]))
        return args[0], command, args[1:]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.help) for row in COMMANDS])


def _meant(word: str) -> str:
    """Say what somebody who typed an unknown command may want."""
    from difflib import get_close_matches

    near = get_close_matches(word, [row.name for row in COMMANDS], 1)
    return f"did you mean {near[0]!r}?" if near else "see 'medimg --help'"


def build(row: Command) -> Any:
    """Import the module of a command and return the command as Typer's parser wants it."""
    from importlib import import_module

    module, _, name = row.target.partition(":")
    handler = getattr(import_module(module), name)
    app = typer.Typer(**_PLAIN)
    text = command_help(cleandoc(handler.__doc__ or row.help))
    app.command(row.name, cls=_Grouped, help=text, context_settings=_SETTINGS)(handler)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=_Lazy, name="medimg", subcommand_metavar="COMMAND ...", context_settings=_SETTINGS, epilog=_MORE, **_PLAIN
)


def _version(wanted: bool) -> None:
    if wanted:
        from medimg_cli import __version__

        Console().out(f"medimg {__version__}")
        raise typer.Exit


@app.callback()
@with_options
def _medimg(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
    *,
    console: Console,
) -> None:
    """Medical images in physical space: look at them, convert them, and never lose a bit in silence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after the program's name; those of this process when left out.

    Returns
    -------
    int
        0 done; 1 a finding, a difference or a mismatch; 2 wrong usage or an input that failed; 130 and 143 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminable(), _warnings_in_a_line(_console(words)):
            code = _run(words)
            sys.stdout.flush()
            _settle(sys.stderr)
            return code
    except BaseException as error:
        return _ended(error, _console(words))


def group() -> Any:
    """Return the command line as Typer's parser wants it."""
    return typer.main.get_command(app)


def _run(words: list[str]) -> int:
    """Parse and run, past the parser's own handling of errors and signals."""
    root = group()
    if not words:
        with root.make_context("medimg", [], resilient_parsing=True) as context:
            typer.echo(root.get_help(context), err=True)
        return 2
    with root.make_context("medimg", list(words)) as context:
        return int(root.invoke(context) or 0)


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that files are cleaned up on the way out."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever embeds us owns the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def _warnings_in_a_line(console: Console) -> Iterator[None]:
    """Say what libraries and plugins warn of as every other message, without the place in their code."""
    before = warnings.showwarning
    warnings.showwarning = lambda message, *where: console.warning(" ".join(str(message).split()))
    try:
        yield
    finally:
        warnings.showwarning = before


def _console(words: Sequence[str]) -> Console:
    """Build the console of a command line that may not even parse."""
    line = f"{' '.join(words)} "
    colors = [value for value in ("always", "never") if f"--color {value} " in line or f"--color={value} " in line]
    return Console(debug="--debug" in words, color=colors[-1] if colors else "auto")


def _ended(error: BaseException, console: Console) -> int:
    """Say in one line what ended the run, and return the exit code."""
    code = 2
    if isinstance(error, typer.Exit):
        code = int(error.exit_code)
    elif isinstance(error, (KeyboardInterrupt, typer.Abort)):
        code = 130
    elif isinstance(error, SystemExit) and isinstance(error.code, int):
        code = error.code
    elif isinstance(error, BrokenPipeError):
        code = 0
    else:
        _tell(error, console)
    _settle(sys.stdout, sys.stderr)
    return code


def _tell(error: BaseException, console: Console) -> None:
    if hasattr(error, "format_message"):  # wrong usage, in the words of Typer's parser
        command = getattr(getattr(error, "ctx", None), "command_path", "medimg")
        front = command.removeprefix("medimg").lstrip()
        console.error(f"{front}{': ' if front else ''}{_parser_words(error)}; see '{command} --help'")
        return
    from medimg_cli.batch import describe

    console.trace(error)
    console.error(describe(error).message)


def _parser_words(error: Any) -> str:
    """Return what Typer's parser complains of; of the options that it offers, one that is much like the one typed."""
    from difflib import get_close_matches

    if hasattr(error, "possibilities"):
        near = get_close_matches(error.option_name, error.possibilities or (), 1, 0.7)
        return f"no such option {error.option_name}" + (f"; did you mean {near[0]}?" if near else "")
    text = " ".join(error.format_message().split()).rstrip(".")
    return text[0].lower() + text[1:]


def _settle(*streams: TextIO) -> None:
    """Leave nothing in the buffers of streams that the interpreter would fail to write in its last moments."""
    for stream in streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                pass  # a stream of somebody who embeds us
