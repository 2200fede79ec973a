"""
One file over HTTPS into a directory of our own, resumed where the last attempt broke off. Only `plugin install` uses
it; no render ever does.

A partial file stays when the connection or the user breaks off, with the server's validator beside it. It is
continued (Range and If-Range, RFC 9110 sections 13 and 14) only if the server says that the file is still the same.
Nothing here says what the bytes are worth: the caller hashes all of them, from the first one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import random
import ssl
import stat
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from injector.errors import PluginInstallFailed, PluginSourceUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from email.message import Message
    from http.client import HTTPMessage
    from pathlib import Path
    from typing import IO

_CHUNK: Final = 256 * 1024
_READ_TIMEOUT: Final = 30.0  # seconds without a byte
_ATTEMPTS: Final = 5  # in a row without a single new byte
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 8.0
_LONGEST_REQUESTED_PAUSE: Final = 60.0
_MOST_REDIRECTS: Final = 5
_KEPT_FOR: Final = 7 * 24 * 3600.0  # seconds: then nobody will continue a partial file
_MAY_GO_AWAY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416
_WITHOUT_PORT: Final = {"https": 443, "http": 80}


class Download:
    """
    The download of *url* into *directory*.

    Args:
        url: https://, or http:// to a loopback address.
        directory: for the partial file; made if missing, and then ours only (0700).
        limit: the most bytes that are taken.
        progress: called with (bytes so far, all bytes) when the server says how many there are.
        pause: waits that many seconds between attempts.
    """

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        limit: int,
        progress: Callable[[int, int], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = checked_url(url)
        self._shown = without_query(url)
        self._directory = directory
        self._limit = limit
        self._progress = progress
        self._pause = pause
        self._key = hashlib.sha256(url.encode()).hexdigest()[:32]
        self._opener = _opener()
        self._descriptor = -1

    @contextlib.contextmanager
    def fetched(self) -> Iterator[bytes]:
        """
        All bytes of the file. The partial file is gone when the context ends, and kept when no bytes came about.

        Raises:
            PluginSourceUnavailable: no connection, or the server is in trouble, also after several attempts.
            PluginInstallFailed: the server has no such file, it is too large, or it comes over an unsafe way.
        """
        with self._own_partial_file():
            try:
                self._fetch()
            except PluginInstallFailed:
                self._forget()  # what is there will never become the file
                raise
            try:
                yield self._content()
            finally:
                self._forget()

    @contextlib.contextmanager
    def _own_partial_file(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._directory.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise PluginInstallFailed(
                    f"{self._directory} is not a directory that only this user can write",
                    hint="it holds partial downloads: correct its owner and mode, or set XDG_CACHE_HOME",
                )
            self._sweep()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._file("part"), flags, 0o600)
        except OSError as error:
            raise PluginInstallFailed(f"{self._directory} cannot hold a download: {error.strerror}") from None
        try:
            self._lock()
            try:
                yield
            finally:
                if not self._size():
                    self._forget()  # nothing came, so there is nothing to go on from
        finally:
            os.close(self._descriptor)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PluginInstallFailed(
                f"another process is downloading {self._shown}", hint="wait for it, or end it"
            ) from None

    def _file(self, suffix: str) -> Path:
        return self._directory / f"{self._key}.{suffix}"

    def _sweep(self) -> None:
        old = time.time() - _KEPT_FOR
        for path in self._directory.iterdir():
            with contextlib.suppress(OSError):  # somebody else's sweep was faster
                if path.suffix in (".part", ".json") and path.lstat().st_mtime < old:
                    path.unlink()

    def _forget(self) -> None:
        for suffix in ("json", "part"):
            self._file(suffix).unlink(missing_ok=True)

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _content(self) -> bytes:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return file.read()

    def _fetch(self) -> None:
        failures, most = 0, self._size()
        while True:
            try:
                if self._attempt():
                    return
                reason, wait = "the connection broke off", None
            except _Trouble as trouble:
                reason, wait = trouble.reason, trouble.wait
            failures = 1 if self._size() > most else failures + 1
            most = max(most, self._size())
            if failures >= _ATTEMPTS:
                raise PluginSourceUnavailable(
                    f"{self._shown} was not delivered: {reason}",
                    hint=f"{self._size()} bytes are kept; the same command goes on from there",
                )
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
            self._pause(wait if wait is not None else longest * random.uniform(0.5, 1))  # noqa: S311  # no secret

    def _attempt(self) -> bool:
        """One request. True when the file is complete, False when the connection ended early."""
        start, validator = self._resumable()
        headers = {"Accept": "application/octet-stream, */*", "Accept-Encoding": "identity", "User-Agent": "injector"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310  # the scheme was checked
        try:
            with self._opener.open(request, timeout=_READ_TIMEOUT) as response:
                return self._take(response, start)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error)
        except urllib.error.URLError as error:
            raise _trouble(error.reason, self.url) from None
        except (OSError, http.client.HTTPException) as error:
            raise _trouble(error, self.url) from None

    def _resumable(self) -> tuple[int, str]:
        size = self._size()
        try:
            facts = json.loads(self._file("json").read_bytes()) if size else {}
        except (OSError, ValueError):
            facts = {}
        validator = facts.get("validator") if isinstance(facts, dict) else None
        if isinstance(validator, str) and validator and size <= self._limit:
            return size, validator
        os.ftruncate(self._descriptor, 0)
        return 0, ""

    def _take(self, response: Any, start: int) -> bool:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise PluginInstallFailed(f"{self._shown} is sent compressed although that was not asked for")
        if response.status == _PARTIAL and _range_start(response.headers) == start:
            position = start
        elif response.status == _OK:
            position = 0
        else:
            raise PluginInstallFailed(f"{self._shown} is answered with HTTP {response.status}, which is no file")
        announced = _length(response.headers)
        total = position + announced if announced is not None else None
        if total is not None and total > self._limit:
            raise _too_large(self._shown, self._limit)
        os.ftruncate(self._descriptor, position)
        self._remember(response.headers)
        return self._write(response, position, total)

    def _write(self, response: Any, position: int, total: int | None) -> bool:
        while data := response.read1(_CHUNK):
            if position + len(data) > self._limit:
                raise _too_large(self._shown, self._limit)
            position += self._store(data, position)
            if self._progress is not None and total is not None:
                self._progress(position, total)
        return position == total if total is not None else True

    def _store(self, data: bytes, position: int) -> int:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], position + written)
        except OSError as error:
            raise PluginInstallFailed(f"{self._directory} cannot hold the download: {error.strerror}") from None
        return written

    def _remember(self, headers: Message) -> None:
        etag = headers.get("ETag", "")
        # RFC 9110 13.1.5: If-Range takes strong validators only.
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
        self._file("json").write_text(json.dumps({"validator": validator}), encoding="utf-8")

    def _refused(self, error: urllib.error.HTTPError) -> bool:
        if error.code == _RANGE_NOT_SATISFIABLE:
            os.ftruncate(self._descriptor, 0)
            raise _Trouble("the partial file did not fit any more", 0.0)
        if error.code in _MAY_GO_AWAY:
            raise _Trouble(f"HTTP {error.code} {error.reason}", _requested_pause(error.headers))
        raise PluginInstallFailed(
            f"{self._shown} is not to be had: HTTP {error.code} {error.reason}",
            hint="open the URL and compare its spelling",
        )


class _Trouble(Exception):
    """An attempt failed, and another may not. `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def checked_url(url: str) -> str:
    """
    *url*, if it may be downloaded from. Raises UsageError otherwise.

    HTTPS only, and HTTP to a loopback address; no credentials in it: they would end in the lock file and in logs.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("SOURCE is no URL", hint="an https:// URL, or the path of a file")
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL with a user name or a password is not taken", hint="download the file, and install it")
    if not _is_safe(parts):
        raise UsageError(
            f"plugins are downloaded by HTTPS, and this is {parts.scheme}://{host}",
            hint="use the https:// address, or download the file and install it from its path",
        )
    return url


def without_query(url: str) -> str:
    """*url* for messages and lock files: its query and fragment may hold a signature that lets its holder in."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def _is_safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if not _is_safe(after) or (before.scheme == "https" and after.scheme != "https"):
            raise PluginInstallFailed(
                f"{without_query(req.full_url)} redirects to {after.scheme}://{after.hostname}, "
                "and plugins are downloaded by HTTPS",
                hint="download the file yourself, and install it from its path",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Put together by hand: build_opener() would bring file:, ftp: and data: as well.
    proxies: Mapping[str, str] = urllib.request.getproxies()
    proxies = {"https": proxies["https"]} if "https" in proxies else {}  # loopback needs none
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(dict(proxies)),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _trouble(cause: object, url: str) -> _Trouble:
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise PluginInstallFailed(
            f"the certificate of {urlsplit(url).hostname} is not to be trusted: {cause.verify_message}",
            hint="for a private certificate authority set SSL_CERT_FILE to its certificate",
        )
    if isinstance(cause, TimeoutError):
        return _Trouble(f"no byte for {_READ_TIMEOUT:g} s")
    if isinstance(cause, OSError):
        return _Trouble(cause.strerror or type(cause).__name__)
    return _Trouble("the connection broke off" if isinstance(cause, Exception) else str(cause))


def _too_large(url: str, limit: int) -> PluginInstallFailed:
    return PluginInstallFailed(
        f"{url} is larger than {limit} bytes", hint="raise --max-size if the plugin is meant to be so large"
    )


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None  # 64 bits


def _range_start(headers: Message) -> int | None:
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isascii() and start.isdigit() else None


def _requested_pause(headers: Message) -> float | None:
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_REQUESTED_PAUSE) if text.isascii() and text.isdigit() else None
