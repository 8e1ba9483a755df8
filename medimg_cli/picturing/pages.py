"""Where the pages of commands go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medimg_cli.pipeline import output_path, target_name

if TYPE_CHECKING:
    from medimg_cli.batch import Task
    from medimg_cli.storage.atomic import StagedFile

__all__ = ["page_file"]


@contextmanager
def page_file(task: Task) -> Iterator[StagedFile]:
    """Open the page of a task, before anything is read, and yield it: it appears whole or not at all.

    Raises
    ------
    UsageError
        If it is not named as a page.
    StorageError
        If it cannot be written.
    """
    from medimg_cli.media.moving import check_suffix
    from medimg_cli.storage.atomic import AtomicGroup

    check_suffix(target_name(task), (".html", ".htm"))
    with output_path(task) as path, AtomicGroup(force=task.force) as group:
        yield group.create(path)
