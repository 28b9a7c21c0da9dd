"""What the recorder says of itself: its cost, its doings, and why there is nothing."""

import os
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from quantum_pulse.errors import EmptyCaptureError, NotACaptureError
from quantum_pulse.recorder import overhead
from quantum_pulse.rings import places


class Own(qp.Operation):
    OUTER = qp.op("Holds the others")
    INNER = qp.op("Does nothing")


def test_what_a_sample_costs(tmp_path):
    found = overhead.measure(tmp_path)
    assert found.clock_resolution_ns >= 1
    assert 0 < found.inside_ns <= found.sample_ns < 1_000_000
    assert found.clock_read_ns < found.sample_ns * 2
    assert list(tmp_path.iterdir()) == [], "the ring is gone"


def test_no_room_to_measure_is_no_reason_not_to_record(tmp_path, monkeypatch):
    monkeypatch.setattr(overhead, "_known", None)
    monkeypatch.setattr(overhead, "_is_measured", False)
    overhead.measure_once(places.Place(str(tmp_path / "nowhere")))
    assert overhead.known() is None
    with qp.record(tmp_path / "c"), Own.INNER:
        pass
    assert len(qp.open(tmp_path / "c").samples()) == 1
    assert overhead.known() is None, "it is tried once"


def test_it_is_measured_once(tmp_path, monkeypatch):
    measured = []

    def measure(folder):
        measured.append(folder)
        return overhead.Overhead(1.0, 2.0, 3.0, 1.5)

    monkeypatch.setattr(overhead, "_known", None)
    monkeypatch.setattr(overhead, "_is_measured", False)
    monkeypatch.setattr(overhead, "measure", measure)
    for name in ("a", "b"):
        with qp.record(tmp_path / name), Own.INNER:
            pass
    assert len(measured) == 1
    (stored,) = qp.open(tmp_path / "b").overhead().attrs["recordings"]
    assert (stored["sample_ns"], stored["inside_ns"]) == (3.0, 1.5)


def test_the_share_of_each_operation(tmp_path, capsys):
    with qp.record(tmp_path / "c"):
        for _ in range(50):
            with Own.OUTER:
                for _ in range(20):
                    with Own.INNER:
                        pass
    shares = qp.open(tmp_path / "c").overhead()
    (stored,) = shares.attrs["recordings"]
    assert shares["count"].to_dict() == {"Own.OUTER": 50, "Own.INNER": 1000}
    assert shares["nested"].to_dict() == {"Own.OUTER": 1000, "Own.INNER": 0}
    own = shares.loc["Own.OUTER", "own_us"]
    assert own == pytest.approx((50 * stored["inside_ns"] + 1000 * stored["sample_ns"]) / 1000)
    assert shares["share"].between(0, 1).all()
    assert shares.loc["Own.OUTER", "share"] > 0.1, "there is little but samples in it"
    assert main(["overhead", str(tmp_path / "c")]) == 0
    told = capsys.readouterr().out
    assert "Own.OUTER" in told
    assert "ns per reading" in told
    assert main(["overhead"]) == 0
    assert "on this machine, now" in capsys.readouterr().out


def test_a_capture_of_a_recorder_that_did_not_measure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(overhead, "known", lambda: None)
    with qp.record(tmp_path / "c"), Own.INNER:
        pass
    assert qp.open(tmp_path / "c").overhead()["own_us"].isna().all()
    assert main(["overhead", str(tmp_path / "c")]) == 0
    assert "was not measured" in capsys.readouterr().out


SCRIPT = """
import quantum_pulse as qp
class Op(qp.Operation):
    STEP = qp.op("A step", detail=True)
with qp.record("c", level=LEVEL):
    BODY
qp.open("c").stats()
"""


@pytest.mark.parametrize(
    ("level", "body", "why"),
    [
        ("full", "pass", "no operation ran during the recording"),
        ("production", "Op.STEP.__enter__()", "all of its operations, as they are op\\(detail=True\\)"),
        ("full", "Op.STEP.__enter__()", r"one block was entered during the recording \(Op.STEP\), and none finished"),
    ],
)
def test_why_there_is_nothing(tmp_path, level, body, why):
    script = SCRIPT.replace("LEVEL", repr(level)).replace("BODY", body)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    with pytest.raises(EmptyCaptureError, match=why):
        qp.open(tmp_path / "c").stats()
    assert "EmptyCaptureError" in done.stderr


def test_off_is_said_where_the_capture_is_missed(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTUM_PULSE", "off")
    with pytest.raises(NotACaptureError, match="QUANTUM_PULSE=off is set in the environment"):
        qp.open(tmp_path / "never")


def test_the_trace(tmp_path):
    script = SCRIPT.replace("LEVEL", "'full'").replace("BODY", "exec('with Op.STEP: pass')")
    for debug, is_told in (("1", True), ("0", False)):
        environment = {**os.environ, "QUANTUM_PULSE_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", script.replace('"c"', f'"c{debug}"')],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        for what in ("recording into", "started an agent", "stopped"):
            assert (what in done.stderr) == is_told
        # The agent has no terminal.
        told = tmp_path / f"c{debug}" / "agent.log"
        assert told.exists() == is_told
        for what in ("attached to", "wrote samples/", ": 1 rows", "took over") if is_told else ():
            assert what in told.read_text()
