"""``medimg report``: a page of thumbnails and facts of a data set."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import OnePage, Report, Task, Work
from medimg_cli.cli.options import with_options
from medimg_cli.cli.render import Console, progress
from medimg_cli.cli.running import run_batch
from medimg_cli.media.look import Look
from medimg_cli.picturing.surveying import Surveying, find, page, page_file, survey

__all__ = ["report"]


@with_options
def report(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR... OUT.html",
            help="Folders and files to look at, and last the page; - writes it to standard output.",
            show_default=False,
        ),
    ] = None,
    *,
    look: Look,
    batch: OnePage,
    console: Console,
) -> int:
    """Write one page of thumbnails and facts of a data set: what one looks at before training on a thousand scans.

    Folders are searched for images as info --recursive does; a folder of DICOM files is one image. Each image has a row
    with its sagittal, coronal and axial view in true proportions, shape, spacing, orientation, type, range of values or
    labels, and warnings. Above the table the page counts how often each shape, spacing, orientation and type occurs,
    and it marks the images that are unlike most of their kind, that look the same as another, and that could not be
    read. A click on a count shows those images alone; columns sort; the list of what is shown can be saved.

    The page is one file that any browser opens, asks no server for anything, and is a plain table where there is no
    JavaScript. It shows paths below the folder that holds all images, and facts of geometry and values; descriptions,
    key-values and names of patients stay behind.

    All voxels are read, so that an image that is damaged at its end is found as well. An image that fails does not stop
    the others: the page says why, and the exit code is then 2.

    Examples:

        medimg report study/ study.html
        medimg report --jobs 0 --window brain ct/ ct.html
        medimg report --force train/ validation/ sets.html
        medimg report --planes straight --files-from scans.txt scans.html
    """
    surveyor = _Surveyor(Surveying(look=look), batch.jobs, console)
    code = run_batch(paths, Work(surveyor), batch=batch, console=console)
    return 2 if surveyor.failed else code


class _Surveyor:
    """Look at the images of a task, say on stderr which fail, and write the page."""

    def __init__(self, wanted: Surveying, jobs: int, console: Console) -> None:
        self._wanted, self._jobs, self._console, self.failed = wanted, jobs, console, 0

    def __call__(self, task: Task, parameters: None, *, threads: int) -> Report:
        with page_file(task) as write:
            images, seen = find(task.inputs)
            with progress(self._console, len(images)) as bar:
                for one in seen:
                    self._tell(one.message, one.trace)
                for one in survey(images, self._wanted, jobs=self._jobs):
                    seen.append(one)
                    self._tell(one.message, one.trace)
                    bar.advance()
            content = b"".join(page(task.inputs, seen, self._wanted))
            write(content)
        failed = f", {self.failed} failed" if self.failed else ""
        return Report(remarks=(f"{len(images)} images{failed}, {len(content) / 1e6:.1f} MB",))

    def _tell(self, message: str, trace: str) -> None:
        if message:
            self.failed += 1
            self._console.trace(trace)
            self._console.error(message)
