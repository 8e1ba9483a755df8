"""Option groups: a dataclass in a handler's signature becomes options."""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module
from typing import Any

import pytest

from medimg_cli.batch import BatchOptions
from medimg_cli.cli.app import COMMANDS
from medimg_cli.cli.options import GROUPS, command_help, known_suffixes, with_options
from medimg_cli.cli.render import Console
from medimg_cli.formats import FORMATS

from .conftest import Run


@pytest.mark.parametrize("name", GROUPS)
def test_options_are_the_fields_of_their_dataclass(name: str) -> None:
    module, _, kind = name.rpartition(".")
    group = getattr(import_module(module), kind)
    fields = {field.name: field for field in dataclasses.fields(group)}
    senseless = {
        "OneOutput": ("output_dir", "name", "jobs"),
        "OnePage": ("output_dir", "suffix", "name", "report"),
        "Reading": ("files",),
        "GatheredReading": ("tolerance", "files"),
        "PageLook": ("overlay", "plain"),
        "SurveyLook": ("overlay", "outline", "opacity"),
    }.get(kind, ())
    assert list(GROUPS[name].options) == [field for field in fields if field not in senseless]
    for option, row in GROUPS[name].options.items():
        assert row.help.endswith(".")
        if option != "color":  # None there means: as said before the command
            assert row.default == fields[option].default


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_takes_the_general_options(row: Any) -> None:
    module, _, name = row.target.partition(":")
    assert "quiet" in inspect.signature(getattr(import_module(module), name)).parameters


def test_a_handler_gets_frozen_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    @with_options
    def handler(size: int = 3, *, batch: BatchOptions, console: Console) -> None:
        """Do it."""
        seen.update(size=size, batch=batch, console=console)

    parameters = inspect.signature(handler).parameters
    assert "batch" not in parameters and "console" not in parameters
    assert {"size", "force", "output_dir", "verbose", "color"} <= set(parameters)

    class Context:
        parent = None
        obj: Any = None

    groups = (GROUPS[f"{kind.__module__}.{kind.__qualname__}"] for kind in (BatchOptions, Console))
    values = {key: option.default for group in groups for key, option in group.options.items()}
    handler(Context(), size=4, **{**values, "jobs": 7, "verbose": True})
    assert seen == {"size": 4, "batch": BatchOptions(jobs=7), "console": Console(verbose=True)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen["batch"].jobs = 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--force", "--skip-existing"], "--force and --skip-existing exclude each other"),
        (["--skip-existing", "--if-newer"], "--skip-existing and --if-newer exclude each other"),
        (["--jobs", "-1"], "--jobs -1"),
        (["--suffix", "nrrd"], "--suffix 'nrrd' is no suffix"),
        (["--suffix", "a/b.nii"], "--suffix 'a/b.nii' is no suffix"),
        (["--suffix", "."], "--suffix '.' is no suffix"),
        (["--report", "scan.nii"], "--report scan.nii; the name of a report ends in .jsonl"),
    ],
)
def test_options_that_make_no_sense_are_refused(toy: Run, words: list[str], said: str) -> None:
    result = toy("copy", "a", "--output-dir", "out", *words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err and result.err.count("\n") == 1


def test_help_keeps_the_lines_of_examples() -> None:
    text = "First line.\n\nExamples:\n\n    one\n    two"
    assert command_help(text) == "First line.\n\nExamples:\n\n\b\n    one\n    two"


def test_completed_suffixes_are_those_that_can_be_written() -> None:
    suffixes = known_suffixes()
    assert {".nii", ".nii.gz", ".nrrd", ".mgz"} <= set(suffixes)
    assert ".mgz.gz" not in suffixes
    unwritable = {suffix for row in FORMATS for suffix in row.suffixes} - {
        suffix for row in FORMATS if row.writes for suffix in row.suffixes
    }
    assert not unwritable & set(suffixes)
