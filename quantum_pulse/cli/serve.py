"""``quantum-pulse serve``: a capture over HTTP, for Prometheus, browsers and programs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quantum_pulse.cli.common import Misuse
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands

_TOKEN: Final = "QUANTUM_PULSE_TOKEN"


def add_command(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a capture over HTTP: metrics for Prometheus, JSON, and a live page",
        description="Serve a capture over HTTP while it is being written: /metrics for Prometheus (OpenMetrics, or "
        "native histograms where it asks for them), /stats.json, and a report at /, which reloads itself. Without "
        "--host only "
        f"this machine can read it; elsewhere a token is required, which is read from {_TOKEN} or --token-file, and "
        "sent as a bearer token or as a password.",
    )
    serve.add_argument("capture", metavar="CAPTURE", help="the directory of a capture")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=9464, help="the port, 0 for any free one (default: 9464)")
    serve.add_argument("--token-file", metavar="FILE", help="a file that holds the token")
    serve.set_defaults(command=_serve)


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")
    return number


def _serve(options: argparse.Namespace) -> int:
    from quantum_pulse.live.server import Server

    path = Path(options.capture)
    try:
        server = Server(path, (options.host, options.port), _token(options.token_file))
    except ValueError as error:
        raise Misuse(f"serve: {error}") from error
    with server:
        server.counters.refresh()  # what is no capture is said now
        say(f"{server.url}  {server.url}metrics  {server.url}stats.json")
        if sys.stdout is not None:
            sys.stdout.flush()  # whoever started it waits for that
        # In a thread of its own: `shutdown` waits for the loop.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
    return 0


def _token(file: str | None) -> str | None:
    """The token that is required. Raises Misuse where one was meant and is empty."""
    found = os.environ.get(_TOKEN) if file is None else Path(file).read_text(encoding="utf-8").strip()
    if found == "":
        raise Misuse(f"serve: {_TOKEN if file is None else file} is empty; it should hold a token")
    return found
