"""Serve a capture over HTTP: metrics for Prometheus, figures as JSON, and a report as a live page."""

from __future__ import annotations

import base64
import gzip
import hmac
import ipaddress
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import quantum_pulse
from quantum_pulse import facade
from quantum_pulse.errors import CaptureError
from quantum_pulse.live import exposition
from quantum_pulse.live.counters import Counters
from quantum_pulse.reading import scan
from quantum_pulse.shown import clean

#: A report is made anew once it is so old, in seconds, or so many times as old as it took to make.
_PAGE_S: Final = 10.0
_PAGE_TIMES: Final = 10
#: Requests that are answered at once; others wait, and are refused after so many seconds.
_AT_ONCE: Final = 8
_LONGEST_WAIT_S: Final = 30.0
#: A client that says nothing for so long is dropped.
_SILENCE_S: Final = 15.0
_PARAMETERS: Final = frozenset({"start", "end", "approximate"})


class Answer(NamedTuple):
    """The body of an answer and what it is."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK


class Server(ThreadingHTTPServer):
    """An HTTP server for the capture at `path`. `address` as sockets take it; port 0 is any free one.

    Raises
    ------
    OSError
        If the address cannot be bound.
    ValueError
        If the address is open to other machines and there is no token.
    """

    daemon_threads = True

    def __init__(self, path: Path, address: tuple[str, int], token: str | None = None) -> None:
        self.is_local = _is_loopback(address[0])
        if not self.is_local and not token:
            raise ValueError(f"{address[0]} is open to other machines: set a token, or bind to 127.0.0.1")
        self.token = token
        self.counters = Counters(path)
        self.page = _Page(path)
        self.turns = threading.BoundedSemaphore(_AT_ONCE)
        self.address_family = _family_of(address[0])
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up; they do so all the time."""


class _Page:
    """The report on a capture, made anew when it is old and somebody asks for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._html = b""
        self._made_at = self._took_s = -1e9

    def html(self) -> bytes:
        with self._lock:
            begun = time.monotonic()
            if begun - self._made_at > max(_PAGE_S, _PAGE_TIMES * self._took_s):
                with scan.silent():
                    text = facade.open(self._path).report(title=f"{self._path.resolve().name}, live").text("html")
                self._made_at = time.monotonic()
                self._took_s = self._made_at - begun
                every = round(max(_PAGE_S, _PAGE_TIMES * self._took_s)) + 1
                refresh = f'<meta http-equiv="refresh" content="{every}">'
                self._html = text.replace("<head>", f"<head>{refresh}", 1).encode()
            return self._html


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    server_version = f"quantum_pulse/{quantum_pulse.__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer a request, without the body."""
        self._send(self._answer())

    def _answer(self) -> Answer:
        if self.server.is_local and not self.server.token and not _is_loopback(_host_of(self.headers.get("Host"))):
            # A page of another site may have had its name resolve to this machine.
            return _refusal(HTTPStatus.FORBIDDEN, "this is served to http://127.0.0.1 and http://localhost only")
        if self.server.token and not self._has_token(self.server.token):
            return _refusal(HTTPStatus.UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN, or as a password")
        url = urllib.parse.urlsplit(self.path)
        work = self.ROUTES.get(url.path)
        if work is None:
            return _refusal(HTTPStatus.NOT_FOUND, f"there is no {clean(url.path)}; there are {', '.join(self.ROUTES)}")
        if not self.server.turns.acquire(timeout=_LONGEST_WAIT_S):
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once")
        try:
            return work(self, url.query)
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        except (CaptureError, OSError) as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        finally:
            self.server.turns.release()

    def _has_token(self, token: str) -> bool:
        scheme, _, sent = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                sent = base64.b64decode(sent, validate=True).decode("utf-8", "replace").partition(":")[2]
            except ValueError:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(sent.strip().encode(), token.encode())

    def _metrics(self, _: str) -> Answer:
        wanted = exposition.negotiated(self.headers.get("Accept", ""))
        counters = self.server.counters
        with counters.lock:
            counters.refresh()
            return Answer(exposition.written(counters, wanted), wanted.content_type)

    def _stats(self, query: str) -> Answer:
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        unknown = sorted(given.keys() - _PARAMETERS)
        if unknown:
            raise ValueError(f"there is no parameter {unknown[0]!r}; there are {', '.join(sorted(_PARAMETERS))}")
        approximate = given.get("approximate", "true")
        if approximate not in ("true", "false"):
            raise ValueError(f"approximate must be true or false, not {approximate!r}")
        start, end = (_moment(given.get(name)) for name in ("start", "end"))
        with scan.silent():
            capture = facade.open(self.server.counters.path)
            stats = capture.stats(start=start, end=end, approximate=approximate == "true").reset_index()
        rows = [
            {name: None if value != value else value for name, value in row.items()}
            for row in stats.to_dict(orient="records")
        ]
        return Answer(json.dumps({"operations": rows}, allow_nan=False).encode(), "application/json")

    def _page(self, _: str) -> Answer:
        return Answer(self.server.page.html(), "text/html; charset=utf-8")

    ROUTES: ClassVar[dict[str, Callable[[_Handler, str], Answer]]] = {
        "/": _page,
        "/metrics": _metrics,
        "/stats.json": _stats,
    }

    def _send(self, answer: Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000:
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="quantum_pulse", charset="UTF-8"')
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet: a scrape every 15 seconds would fill a log."""


def _refusal(status: HTTPStatus, why: str) -> Answer:
    return Answer(f"{why}\n".encode(), "text/plain; charset=utf-8", status)


def _moment(text: str | None) -> str | float | None:
    """A number is one of seconds after the first sample."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _host_of(header: str | None) -> str:
    return urllib.parse.urlsplit(f"//{header or ''}").hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _family_of(host: str) -> Any:
    import socket

    return socket.AF_INET6 if ":" in host else socket.AF_INET
