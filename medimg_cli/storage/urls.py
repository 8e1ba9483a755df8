"""What is a URL, which of them are local files, and how to call one without telling its secrets.

Nothing here imports a library: every path that medimg opens passes through.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

__all__ = ["is_local", "is_located", "is_store_name", "is_url", "localized", "public_name", "url_text"]

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"(?i)(?<=^http)(s?://[^?#]*)[?#].*|\?[^?/]*=.*", re.DOTALL)
_STORE = re.compile(r"(?i)\.zarr/*(?:[?#].*)?$")


def is_url(source: object) -> bool:
    """Tell whether text is a URL of one or several chained protocols.

    >>> is_url("s3://bucket/a.nii"), is_url("simplecache::https://h/a.nii"), is_url("a:/b.nii"), is_url("C://a.nii")
    (True, True, False, False)
    """
    return isinstance(source, str) and _URL.match(source) is not None


def is_local(path: str) -> bool:
    """Tell whether text may name a file or folder of this machine: no URL, no ``-`` of a stream, not nothing.

    >>> is_local("a:/b.nii"), is_local("s3://bucket/a.nii"), is_local("-"), is_local("")
    (True, False, False, False)
    """
    return path not in ("", "-") and not is_url(path)


def is_located(source: object) -> bool:
    """Tell whether an object names a file on a file system of fsspec: its ``OpenFile``, or a path of universal_pathlib.

    Such an object has ``fs`` and ``path``, and nothing to read from yet.
    """
    return hasattr(source, "fs") and hasattr(source, "path") and not hasattr(source, "read")


def localized(source: Any) -> Any:
    """Return the path of what is a file on this machine, however it is written; anything else as it is.

    >>> localized("file:///data/a.nii"), localized("file://localhost/data/a.nii"), localized("s3://bucket/a.nii")
    ('/data/a.nii', '/data/a.nii', 's3://bucket/a.nii')
    """
    if is_located(source):
        protocol = source.fs.protocol
        local = {"file", "local"}.intersection([protocol] if isinstance(protocol, str) else protocol)
        return str(source.path) if local else source
    if isinstance(source, os.PathLike):
        source = os.fsdecode(os.fspath(source))
    if not is_url(source) or not source.lower().startswith(("file://", "local://")):
        return source
    path: str = source.partition("://")[2]
    path = path[len("localhost") :] if path.startswith("localhost/") else path
    decoded = unquote(path)
    return path if os.path.lexists(path) or not os.path.lexists(decoded) else decoded


def url_text(source: Any) -> str:
    """Return the URL of what `is_url` or `is_located` accepts, as its owner wrote it."""
    return str(getattr(source, "full_name", source))


def is_store_name(url: str) -> bool:
    """Tell whether a URL is named like a folder of chunks.

    >>> is_store_name("https://h/brain.nii.zarr/?v=1"), is_store_name("s3://b/zarr/a.nii")
    (True, False)
    """
    return _STORE.search(url) is not None


def public_name(source: str) -> str:
    """Return what messages call a path or a URL: without user, password, query and fragment, escapes decoded.

    >>> public_name("https://me:secret@h/my%20scan.nii.gz?token=1"), public_name("scan #1.nii")
    ('https://h/my scan.nii.gz', 'scan #1.nii')
    >>> public_name("simplecache::s3://bucket/what?.nii")
    'simplecache::s3://bucket/what?.nii'
    """
    if not is_url(source):
        return source
    parts = [_QUERY.sub(lambda match: match[1] or "", _USER.sub("", part)) for part in source.split("::")]
    name = "::".join(parts)
    decoded = unquote(name)
    return decoded if decoded.isprintable() and "http" in name else name
