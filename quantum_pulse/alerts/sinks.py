"""Tell somebody: a webhook of Alertmanager, or a command. Each has a thread and a queue, and holds nothing up."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Final

from quantum_pulse.alerts.evaluator import Change

logger = logging.getLogger("quantum_pulse.alerts")

#: Changes that wait for a sink; of more the oldest are dropped.
_MOST_WAITING: Final = 100
#: How often it is tried, the pauses between, and how long one try may take, in seconds.
_TRIES: Final = 5
_PAUSE_S: Final = 1.0
_LONGEST_S: Final = 10.0


class Sink:
    """Delivers changes with `send`, which raises OSError or subprocess.SubprocessError where that fails."""

    def __init__(self, name: str, send: Callable[[Change], None], pause_s: float = _PAUSE_S) -> None:
        self.name = name
        self.dropped = 0
        self._send = send
        self._pause_s = pause_s
        self._waiting: queue.Queue[Change | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name=f"alerts to {name}", daemon=True)
        self._thread.start()

    def put(self, change: Change) -> None:
        """Have it delivered; at once, whatever the sink does."""
        self._put(change)

    def close(self, within_s: float) -> None:
        """Deliver what waits, for so many seconds at most."""
        self._put(None)
        self._thread.join(within_s)

    def _put(self, item: Change | None) -> None:
        while True:
            try:
                self._waiting.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._waiting.get_nowait()
                except queue.Empty:
                    continue
                self.dropped += 1
                logger.warning("%s does not keep up: an alert was dropped", self.name)

    def _run(self) -> None:
        while (change := self._waiting.get()) is not None:
            for number in range(_TRIES):
                try:
                    self._send(change)
                    break
                except (OSError, subprocess.SubprocessError, ValueError) as error:
                    is_last = number == _TRIES - 1
                    logger.warning("%s: %s%s", self.name, error, f"; given up after {_TRIES} tries" if is_last else "")
                    self.dropped += is_last
                    if not is_last:
                        time.sleep(self._pause_s * 2**number)


def webhook(url: str, labels: dict[str, str]) -> Sink:
    """Posts to `url` what Alertmanager takes at /api/v2/alerts, with some `labels` on each."""

    def send(change: Change) -> None:
        body = [
            {
                "labels": {**labels, "alertname": change.title, "severity": change.severity},
                "annotations": {"summary": change.summary},
                "startsAt": _time(change.since_s),
                # An alert that is not heard of again ends after a while: a watcher that died must not fire for ever.
                **({} if change.is_firing else {"endsAt": _time(change.at_s)}),
            }
        ]
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_LONGEST_S) as answer:
            answer.read(1)

    return Sink(url, send)


def command(words: Sequence[str]) -> Sink:
    """Runs a command for each change, which gets it as JSON on its standard input."""

    def send(change: Change) -> None:
        text = json.dumps(change._asdict() | {"at": _time(change.at_s), "since": _time(change.since_s)})
        subprocess.run(list(words), input=text.encode(), check=True, timeout=_LONGEST_S, stdout=subprocess.DEVNULL)

    return Sink(words[0], send)


def _time(at_s: float) -> str:
    """RFC 3339, in UTC."""
    whole, rest = divmod(at_s, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(rest * 1000):03d}Z"
