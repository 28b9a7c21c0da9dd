"""`qp.last`: the capture that one has just made, or left behind."""

import os
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse.reading import reader
from quantum_pulse.recorder import session


class Op(qp.Operation):
    STEP = qp.op()


def run(folder, path):
    with qp.record(folder / path), Op.STEP:
        pass


def test_the_recording_that_goes_on_and_the_last_one(tmp_path):
    run(tmp_path, "first")
    assert qp.last().path == tmp_path / "first"
    with qp.record(tmp_path / "second"):
        for _ in range(3):
            with Op.STEP:
                pass
        assert qp.last().stats()["count"].tolist() == [3], "while it is recorded"
    assert qp.last().path == tmp_path / "second"


def test_after_a_kernel_has_died(tmp_path):
    script = (
        "import os, quantum_pulse as qp\nclass Op(qp.Operation):\n    STEP = qp.op()\n"
        "qp.start('captures/left')\nwith Op.STEP: pass\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    done = subprocess.run(
        [sys.executable, "-c", "import quantum_pulse as qp; print(qp.last().stats()['count'].tolist())"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[1]\n"


def test_the_newest_is_what_was_written_to_last(tmp_path):
    for name in ("a", "b"):
        run(tmp_path, name)
    for folder in (tmp_path / "b").rglob("*"):
        os.utime(folder, (1, 1))
    os.utime(tmp_path / "b", (1, 1))
    assert reader.newest([tmp_path]) == tmp_path / "a"
    assert reader.newest([tmp_path], but=tmp_path / "a") == tmp_path / "b"


def test_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_last_path", None)
    with pytest.raises(qp.QuantumPulseError, match=r"nothing was recorded in this process, and there is no capture in"):
        qp.last(tmp_path / "captures")


def test_what_is_no_path_is_not_opened(tmp_path):
    run(tmp_path, "one")
    capture = qp.open(tmp_path / "one")
    for wrong in (capture.samples(), capture, {"one": tmp_path}, b"one", 5):
        with pytest.raises(TypeError, match="expected the path of a capture, a pattern or several paths, not"):
            qp.open(wrong)


@pytest.mark.parametrize(
    "url", ["s3://bucket/captures", "https://example.org/a", "s3://bucket/*", "file:///captures/a"]
)
def test_nothing_is_written_to_a_url(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "must be a path on this machine, .*not the URL"
    with pytest.raises(qp.QuantumPulseError, match=said):
        qp.record(url)
    run(tmp_path, "one")
    capture = qp.open("one")
    for write in (capture.report, capture.export):
        with pytest.raises(ValueError, match=said):
            write(f"{url}.html")
    assert [path.name for path in tmp_path.iterdir()] == ["one"], "no folder that is called after a scheme"


def test_samples_by_their_names():
    assert len(qp.sample().samples()) > len(qp.sample("engine").samples()) == 33_479
    with pytest.raises(ValueError, match=r"name must be one of 'engine', 'slow_exchange', not 'engin'"):
        qp.sample("engin")


def test_a_capture_that_is_followed_sees_what_is_written_later(tmp_path):
    with qp.record(tmp_path / "live") as recorder:
        live = qp.open(tmp_path / "live", follow=True)
        before = qp.open(tmp_path / "live", follow=True)
        assert live.stats().empty
        for count in (1, 2):
            with Op.STEP:
                pass
            recorder.flush()
            assert live.stats()["count"].tolist() == [count]
            assert "Op.STEP" in list(map(str, live.operations))
        part = live.between(start="0s")
        with Op.STEP:
            pass
        assert len(live.samples()) == 3, "also what is in rings only"
    assert len(part.samples()) == 2, "what it returned stays what it was"
    assert before.stats()["count"].tolist() == [3]
    with pytest.raises(qp.QuantumPulseError, match="does not exist"):
        qp.open(tmp_path / "nothing", follow=True)
