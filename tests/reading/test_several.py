"""Several captures as one, and samples in batches."""

import json

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import EmptyCaptureError, NotACaptureError
from quantum_pulse.operations import Category, Definition

SECOND = 10**9


def definition(name, category="Input", **more):
    return Definition(f"Shop.{name}", "shop", category=Category(category), **{"description": "", **more})


@pytest.fixture
def days(tmp_path, write_capture):
    """Two days. On the second BUY is of another category and has another budget."""
    random = np.random.default_rng(6)
    before = [definition("LOOK"), definition("BUY", budget_us=10)]
    after = [definition("LOOK"), definition("BUY", "Money", budget_us=5)]
    for day, operations in enumerate((before, after)):
        parts = [
            {
                "start": (100 * day + 10 * part) * SECOND + np.arange(500) * 1000,
                "duration": random.integers(1, 10_000, 500),
                "operation": random.integers(0, 2, 500),
            }
            for part in range(3)
        ]
        write_capture(parts, path=tmp_path / f"day-{day}", operations=operations)
    return tmp_path


def test_several_are_the_sum_of_each(days):
    both = qp.open([days / "day-0", days / "day-1"])
    each = [qp.open(days / f"day-{day}") for day in range(2)]
    samples = both.samples()
    assert samples.columns[0] == "capture"
    assert samples["capture"].value_counts().to_dict() == {"day-0": 1500, "day-1": 1500}
    assert samples["start"].is_monotonic_increasing
    together = pd.concat([one.samples()["duration_ns"] for one in each])
    assert both.stats()["count"].sum() == 3000
    assert both.stats(by="capture")["count"].to_dict() == {"day-0": 1500, "day-1": 1500}
    assert both.stats(by=["capture", "operation"]).index.names == ["capture", "category", "operation"]
    grouped = samples.groupby("operation", observed=True)["duration_ns"].quantile(0.5)
    np.testing.assert_allclose(both.stats().droplevel("category")["p50_us"] * 1000, grouped)
    assert sorted(samples["duration_ns"]) == sorted(together)
    assert both.path == days
    assert "2 captures in" in repr(both)


def test_a_pattern_names_several(days):
    assert len(qp.open(str(days / "day-*")).samples()) == 3000
    assert list(qp.open(days / "day-*").stats(by="capture").index) == ["day-0", "day-1"]
    assert qp.open(str(days / "day-[0]")).samples()["capture"].unique().tolist() == ["day-0"]
    # The same directory twice counts once.
    assert len(qp.open([days / "day-0", str(days / "day-0" / ".." / "day-0")]).samples()) == 1500
    assert "capture" not in qp.open(days / "day-0").samples()
    assert qp.open(days / "day-0").stats(by="capture").index.tolist() == ["day-0"]
    assert qp.open(days / "day-0").samples(columns=["capture"])["capture"].unique().tolist() == ["day-0"]


def test_names_tell_the_captures_apart(days, write_capture):
    operations = [definition("LOOK")]
    for host in ("a", "b"):
        write_capture([[{"duration": 1}]], path=days / host / "monday", operations=operations)
    found = qp.open([days / "a" / "monday", days / "b" / "monday"])
    assert found.stats(by="capture").index.tolist() == ["a/monday", "b/monday"]


def test_what_cannot_be_opened_is_named(days):
    with pytest.raises(NotACaptureError, match=r"nothing matches .*night-\*"):
        qp.open(str(days / "night-*"))
    with pytest.raises(NotACaptureError, match="empty list"):
        qp.open([])
    with pytest.raises(NotACaptureError, match="night does not exist"):
        qp.open([days / "day-0", days / "night"])


def test_empty_captures_among_others_do_no_harm(days):
    empty = days / "empty"
    for folder in (*schema.TABLES, schema.PROCESSES):
        (empty / folder).mkdir(parents=True)
    (empty / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
    assert qp.open([days / "day-0", empty]).stats()["count"].sum() == 1500
    with pytest.raises(EmptyCaptureError, match="none of these captures"):
        qp.open([empty])


def test_a_changed_definition_is_reconciled_and_told(days):
    both = qp.open(str(days / "day-*"))
    assert both.stats().index.tolist() == [("Input", "Shop.LOOK"), ("Money", "Shop.BUY")]
    assert both.stats(approximate=True).index.tolist() == both.stats().index.tolist()
    samples = both.samples()
    assert samples.groupby("operation", observed=True)["category"].agg(lambda one: set(one)).to_dict() == {
        "Shop.BUY": {"Money"},
        "Shop.LOOK": {"Input"},
    }
    assert both.samples(columns=["category"])["category"].value_counts().to_dict() == {
        "Money": (samples["operation"] == "Shop.BUY").sum(),
        "Input": (samples["operation"] == "Shop.LOOK").sum(),
    }
    assert both.stats(by="category")["count"].to_dict() == samples["category"].value_counts().to_dict()
    definitions = both.definitions()
    assert definitions.loc["Shop.BUY", ["category", "budget_us"]].tolist() == ["Money", 5]
    assert definitions["changed"].to_dict() == {"Shop.BUY": "category: Input, budget_us: 10", "Shop.LOOK": ""}
    assert both.budgets()["budget_us"].tolist() == [5]
    assert qp.open(days / "day-0").definitions()["changed"].tolist() == ["", ""]
    assert set(both.tree()["category"]) == {"Input", "Money"}


def test_every_view_takes_several(days):
    both = qp.open(str(days / "day-*"))
    assert both.timeline("10s")["count"].sum() == 3000
    assert both.tree()["count"].sum() == 3000
    slow = both.slowest(2)
    assert slow.table["capture"].isin(["day-0", "day-1"]).all()
    assert slow[0].meanwhile.index.names == ["process", "thread", "operation"]
    assert "capture" in slow[0].meanwhile
    assert both.metrics().columns[0] == "capture"
    assert both.losses().columns[-1] == "capture"


def test_damage_is_told_of_the_capture_that_has_it(days):
    file = sorted((days / "day-1").glob("samples/*"))[0]
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    both = qp.open(str(days / "day-*"))
    assert both.stats()["count"].sum() == 2500
    losses = both.losses()
    assert losses["capture"].tolist() == ["day-1"]
    assert losses["count"].tolist() == [500]


# ---- in batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 499, 500, 1000, 10_000])
def test_batches_are_all_samples(days, rows):
    capture = qp.open(days / "day-0")
    if rows == 1:
        batches = list(capture.iter_samples(end=0.00001, rows=1))
        assert len(batches) == len(capture.samples(end=0.00001)) == 10
        return
    batches = list(capture.iter_samples(rows=rows))
    assert [len(batch) for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert all(batch["start"].is_monotonic_increasing for batch in batches)
    together = pd.concat(batches).sort_values("span", ignore_index=True).astype({"operation": str, "category": str})
    everything = capture.samples().sort_values("span", ignore_index=True).astype({"operation": str, "category": str})
    pd.testing.assert_frame_equal(together, everything, check_categorical=False, check_dtype=False)


def test_batches_of_a_choice(days):
    both = qp.open(str(days / "day-*"))
    found = pd.concat(both.iter_samples(start=100, columns=["capture", "category", "duration_ns"], rows=100))
    assert list(found.columns) == ["capture", "category", "duration_ns"]
    assert set(found["capture"]) == {"day-1"}
    assert len(found) == 1500
    assert list(both.iter_samples(start=1000)) == []
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="rows must be"):
            both.iter_samples(rows=wrong)
    with pytest.raises(ValueError, match="no column"):
        both.iter_samples(columns=["capturee"])


def test_a_damaged_part_does_not_end_the_batches(days):
    capture = qp.open(days / "day-0")
    file = sorted((days / "day-0").glob("samples/*"))[1]
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    assert sum(map(len, capture.iter_samples(rows=100))) == 1000
    assert capture.losses()["count"].tolist() == [500]


def test_what_the_recordings_say_of_themselves(tmp_path):
    class Several(qp.Operation):
        STEP = qp.op("A step")

    for number in range(2):
        with qp.record(tmp_path / f"run-{number}"), Several.STEP:
            pass
    both = qp.open(tmp_path / "run-*")
    each = [qp.open(tmp_path / f"run-{number}").overhead().attrs["recordings"] for number in range(2)]
    assert both.overhead().attrs["recordings"] == [*each[0], *each[1]]
