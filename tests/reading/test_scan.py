"""Passes over samples: what is shown meanwhile, what an interrupt leaves, and captures that are still being written."""

import io
import subprocess
import sys
import threading

import pytest
import tqdm.asyncio

import quantum_pulse as qp
from quantum_pulse.reading import scan, sorting, tables


class Live(qp.Operation):
    STEP = qp.op()
    PART = qp.op()


@pytest.fixture
def capture(write_capture):
    return qp.open(write_capture([[{"duration": turn} for turn in range(100)]] * 8))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_work_shows_progress_in_a_terminal_only(capture, monkeypatch):
    monkeypatch.setattr(scan, "PROGRESS_ROWS", 1)
    monkeypatch.setattr(tables, "_PROGRESS_ROWS", 1)
    monkeypatch.setattr(sorting, "FEW_ROWS", 0)
    begun = tqdm.asyncio.tqdm_asyncio.__init__

    def at_once(self, *args, **options):
        begun(self, *args, **{**options, "delay": 0, "mininterval": 0})

    monkeypatch.setattr(tqdm.asyncio.tqdm_asyncio, "__init__", at_once)
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        capture.stats(by="thread")
        capture.tree()
        list(capture.iter_samples())
        shown = stream.getvalue()
        assert ("counting" in shown, "tree" in shown, "samples" in shown) == (is_shown,) * 3
    monkeypatch.setattr(sys, "stderr", None)
    capture.stats(by="thread")


def test_short_work_shows_nothing(capture, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    capture.stats(by="thread")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("question", ["stats", "timeline", "tree", "slowest"])
def test_an_interrupt_does_no_harm(capture, monkeypatch, question):
    expected = capture.stats(by="thread")
    before = threading.active_count()
    batches, read = scan.batches, []

    def interrupted(*arguments):
        read.append(arguments)
        if len(read) == 3:
            raise KeyboardInterrupt
        return batches(*arguments)

    monkeypatch.setattr(scan, "batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(capture, question)()
    assert threading.active_count() == before
    monkeypatch.setattr(scan, "batches", batches)
    assert capture.stats(by="thread").equals(expected)
    assert capture.losses().empty


def test_what_is_still_being_recorded_is_in_every_answer(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path) as recorder:
        for turn in range(200):
            with Live.STEP, Live.PART:
                pass
            if turn == 100:
                recorder.flush()
        outer = Live.STEP
        with outer:
            # From another process, which sees the parts and what stands in the rings.
            script = (
                "import sys, quantum_pulse as qp\n"
                "capture = qp.open(sys.argv[1])\n"
                "print(capture.stats()['count'].tolist(), capture.stats(approximate=True)['count'].tolist(),\n"
                "      capture.tree()['count'].tolist(), int(capture.timeline()['count'].sum()),\n"
                "      sum(map(len, capture.iter_samples())), len(capture.slowest(1000).table))\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
            )
    assert done.stdout == "[200, 200] [200, 200] [200, 200] 400 400 400\n"
