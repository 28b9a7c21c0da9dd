"""``quantum-pulse watch``: evaluate rules on a capture while it is being written, or over what it has."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quantum_pulse.cli.common import Misuse
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.alerts.evaluator import Change
    from quantum_pulse.alerts.rules import Rule
    from quantum_pulse.alerts.sinks import Sink
    from quantum_pulse.cli.common import Commands

#: What fires is repeated so often, in seconds: Alertmanager takes what it does not hear of for resolved.
_REPEAT_S: Final = 60.0
_CLOSE_S: Final = 10.0


def add_command(commands: Commands) -> None:
    watch = commands.add_parser(
        "watch",
        help="evaluate alerts and objectives on a capture, live or over its past",
        description="Evaluate the rules of a TOML file every five seconds on what is written to a capture, and say "
        "what fires and what recovers. With --replay, say what would have fired over the samples that it has.",
    )
    watch.add_argument("capture", metavar="CAPTURE", help="the directory of a capture")
    watch.add_argument("--rules", metavar="FILE", required=True, help="a TOML file of rules")
    watch.add_argument("--replay", action="store_true", help="over the samples of the capture, then end")
    watch.add_argument("--webhook", metavar="URL", help="post to it, as to /api/v2/alerts of Alertmanager")
    watch.add_argument("--exec", metavar="COMMAND", help="run it for each change, with JSON on its standard input")
    watch.set_defaults(command=_watch)


def _watch(options: argparse.Namespace) -> int:
    from quantum_pulse.alerts import rule_file

    try:
        rules = rule_file.read(options.rules)
    except ValueError as error:
        raise Misuse(f"watch: {error}") from error
    if options.replay and (options.webhook or options.exec):
        raise Misuse("watch: --replay tells nobody; omit --webhook and --exec")
    return _replay(options, rules) if options.replay else _follow(options, rules)


def _replay(options: argparse.Namespace, rules: list[Rule]) -> int:
    import quantum_pulse as qp
    from quantum_pulse.alerts import following

    capture = qp.open(options.capture)
    count = 0
    for change in following.replay(capture._source, rules):
        count += change.is_firing
        say(_line(change))
    say(f"{count} alert{'' if count == 1 else 's'} of {len(rules)} rule{'' if len(rules) == 1 else 's'}")
    return 0


def _follow(options: argparse.Namespace, rules: list[Rule]) -> int:
    from quantum_pulse.alerts.evaluator import TICK_S
    from quantum_pulse.alerts.following import Follower

    hook, command = _webhook(options), _command(options)
    told = [sink for sink in (hook, command) if sink is not None]
    follower = Follower(Path(options.capture), rules)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    _say_now(f"{len(rules)} rule{'' if len(rules) == 1 else 's'} on {options.capture}")
    repeated_at = time.monotonic()
    while not stopped.wait(TICK_S):
        changes = follower.poll()
        for change in changes:
            _say_now(_line(change))
            for sink in told:
                sink.put(change)
        if hook is not None and time.monotonic() >= repeated_at + _REPEAT_S:
            repeated_at = time.monotonic()
            for change in follower.evaluator.firing():
                if change not in changes:
                    hook.put(change)
    for sink in told:
        sink.close(_CLOSE_S)
    return 0


def _webhook(options: argparse.Namespace) -> Sink | None:
    from quantum_pulse.alerts import sinks

    if options.webhook is None:
        return None
    if not options.webhook.startswith(("http://", "https://")):
        raise Misuse(f"watch: --webhook must be a URL as http://localhost:9093/api/v2/alerts, not {options.webhook!r}")
    return sinks.webhook(options.webhook, {"capture": Path(options.capture).resolve().name})


def _command(options: argparse.Namespace) -> Sink | None:
    from quantum_pulse.alerts import sinks

    if options.exec is None:
        return None
    words = shlex.split(options.exec)
    if not words:
        raise Misuse("watch: --exec is empty; it should be a command")
    return sinks.command(words)


def _say_now(text: str) -> None:
    """Print at once: whoever reads this waits for it."""
    say(text)
    if sys.stdout is not None:
        sys.stdout.flush()


def _line(change: Change) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(change.at_s))
    state = "firing" if change.is_firing else "resolved"
    return f"{when} UTC  {state:8}  {change.severity:8}  {change.title}: {change.summary}"
