"""The package hands its names out lazily, and they are the ones it promises."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import medimg_cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", medimg_cli.__all__)
def test_every_public_name_is_there_and_is_what_its_room_says(name: str) -> None:
    value = getattr(medimg_cli, name)
    for room, names in medimg_cli._ROOMS.items():
        if name in names:
            assert value is getattr(import_module(f"medimg_cli.{room}"), name)


def test_dir_lists_public_names() -> None:
    assert set(medimg_cli.__all__) <= set(dir(medimg_cli))


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Imaje'"):
        _ = medimg_cli.Imaje  # type: ignore[attr-defined]


def test_every_error_is_public() -> None:
    from medimg_cli import errors

    assert set(errors.__all__) <= set(medimg_cli.__all__)


def test_asking_for_one_name_imports_its_room_only() -> None:
    code = (
        "import sys, medimg_cli; medimg_cli.AffineMatrix;"
        "print('numpy' in sys.modules, 'medimg_cli.image' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False False\n"
