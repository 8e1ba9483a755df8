"""Parts of files over HTTP, through the session of fsspec's HTTP file system.

Every answer says how long the whole file is and which version of it this is (RFC 9110: Content-Range, ETag,
Last-Modified), so that no further request is needed to know either. Bodies are read up to what was asked for: a server
that ignores ranges never fills the memory. Bytes come as they are stored, a content encoding is not undone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from medimg_cli.errors import MedImgError, NotFoundError, StorageError, UsageError

__all__ = ["Answer", "fetch", "stream", "web_error"]

#: Seconds to wait for a connection, and for further bytes.
_CONNECT, _SILENCE = 30, 60
#: Bytes of one piece of a stream.
_PIECE = 1 << 20
#: How web pages begin: those for people to look at the file, or to log in.
_PAGE = (b"<!doctype html", b"<html")
_PART = re.compile(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)")


class Answer(NamedTuple):
    """What came of asking for a part of a file.

    Parameters
    ----------
    data : bytes
        As asked, or less.
    size : int or None
        Of the whole file.
    mark : tuple of str, optional
        What tells this version of the file from others; None where nobody looked.
    ranged : bool
        Whether parts can be had at all.
    """

    data: bytes
    size: int | None
    mark: tuple[str, ...] | None = None
    ranged: bool = True


def fetch(fs: Any, url: str, start: int, count: int) -> Answer:
    """Ask for ``count`` bytes from ``start``; once more where the connection broke off."""
    import aiohttp
    from fsspec.asyn import sync

    broken = (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
    try:
        answer = sync(fs.loop, _part, fs, url, start, count)
    except broken:
        answer = sync(fs.loop, _part, fs, url, start, count)
    found: Answer = answer
    return found


def stream(fs: Any, url: str, check: Callable[[Answer], None]) -> Iterator[bytes]:
    """Yield the whole file in pieces, after ``check`` has seen what the server says of it."""
    from fsspec.asyn import sync

    response = sync(fs.loop, _get, fs, url, {})
    try:
        _refuse(response.status)
        check(_said(response))
        while piece := sync(fs.loop, response.content.read, _PIECE):
            yield piece
    finally:
        fs.loop.call_soon_threadsafe(response.close)


async def _get(fs: Any, url: str, headers: dict[str, str]) -> Any:
    from aiohttp import ClientTimeout

    settings = {"auto_decompress": False, **fs.kwargs}
    if "timeout" not in {*fs.kwargs, *fs.client_kwargs}:
        settings["timeout"] = ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    settings["headers"] = {**settings.get("headers", {}), "Accept-Encoding": "identity", **headers}
    session = await fs.set_session()
    return await session.get(fs.encode_url(url), **settings)


async def _part(fs: Any, url: str, start: int, count: int) -> Answer:
    response = await _get(fs, url, {"Range": f"bytes={start}-{start + count - 1}"})
    try:
        if response.status == 416:  # nothing lies there: the file is empty, or ends before
            said = _said(response)
            return said._replace(size=0 if said.size is None and not start else said.size, ranged=True)
        _refuse(response.status)
        said = _said(response)
        found = _PART.match(response.headers.get("Content-Range", ""))
        if said.ranged and (found is None or int(found[1] or -1) != start):
            raise StorageError("the server sent another part of the file than was asked for")
        data = bytearray()
        if said.ranged or not start:
            while len(data) < count and (piece := await response.content.read(count - len(data))):
                data += piece
        if not start and data.lstrip()[:14].lower().startswith(_PAGE):
            raise StorageError("the server sent a web page instead of a file", hint="link to the file itself")
        return said._replace(data=bytes(data))
    finally:
        response.close()


def _said(response: Any) -> Answer:
    """Read the headers of a response."""
    headers = response.headers
    ranged = response.status == 206
    found = _PART.match(headers.get("Content-Range", ""))
    total = found[2] if found is not None else None if ranged or response.status != 200 else response.content_length
    mark = tuple(f"{key}: {headers[key]}" for key in ("ETag", "Last-Modified") if key in headers)
    return Answer(b"", None if total is None else int(total), mark, ranged)


def _refuse(status: int) -> None:
    """Raise for an answer that is no file."""
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotFoundError("no such file")
    if status in (401, 403, 407):
        raise StorageError(f"access denied (HTTP {status})", hint="check the address and your credentials")
    if status == 429 or status >= 500:
        raise StorageError(f"the server fails (HTTP {status})", hint="try again later")
    raise StorageError(f"the server answers HTTP {status}", hint="check the address")


def web_error(error: Exception) -> MedImgError | None:
    """Return an error of aiohttp as one of ours, None if it is none of aiohttp's."""
    import aiohttp

    if not isinstance(error, (aiohttp.ClientError, aiohttp.InvalidURL)):
        return None
    if isinstance(error, aiohttp.InvalidURL):
        return UsageError("is no valid URL")
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return StorageError(f"no safe connection to {error.host}: its certificate is not valid")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0  # below 0 where there is no such host
        reason = os.strerror(number) if number > 0 else error.os_error.strerror or "no answer"
        return StorageError(f"cannot connect to {error.host}: {reason.lower()}")
    if isinstance(error, aiohttp.ClientResponseError) and error.status >= 300 and not error.history:
        try:
            _refuse(error.status)
        except MedImgError as refusal:
            return refusal
    if isinstance(error, aiohttp.TooManyRedirects):
        return StorageError("the server redirects without end")
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerConnectionError, aiohttp.ClientOSError)):
        return StorageError("the connection broke off", hint="try again")
    return StorageError(f"the transfer failed ({type(error).__name__})", hint="try again")
