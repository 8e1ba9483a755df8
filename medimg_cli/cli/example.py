"""``medimg example``: a real image to try things on."""

from __future__ import annotations

from medimg_cli.cli.options import with_options
from medimg_cli.cli.render import Console
from medimg_cli.errors import StorageError

__all__ = ["example"]


@with_options
def example(*, console: Console) -> None:
    """Print the path of a real image to try things on.

    It is a small 4-D functional MRI that nibabel carries in its package (NIfTI-1, gzip).

    Examples:

        medimg info "$(medimg example)"
        medimg convert "$(medimg example)" brain.nrrd
    """
    console.out(example_path())


def example_path() -> str:
    """Find the image without importing nibabel.

    Raises
    ------
    StorageError
        nibabel is not installed, or came without its test data.
    """
    import os
    from importlib.util import find_spec

    spec = find_spec("nibabel")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = os.path.join(folder, "tests", "data", "example4d.nii.gz")
        if os.path.isfile(path):
            return path
    raise StorageError("nibabel's example image is not installed", hint="pip install --force-reinstall nibabel")
