"""Samples as a dask DataFrame are those of `Capture.samples`, in this process and in others."""

import pandas as pd
import pytest

import quantum_pulse as qp


@pytest.mark.parametrize("name", ["engine", "slow_exchange"])
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_the_samples_are_the_same(name, scheduler):
    capture = qp.sample(name)
    found = capture.to_dask().compute(scheduler=scheduler).sort_values("start", kind="stable", ignore_index=True)
    expected = capture.samples()
    for column in ("operation", "category", "error"):
        found[column], expected[column] = found[column].astype(object), expected[column].astype(object)
    # Dask takes objects for text, so that attributes are of Arrow's type.
    assert found.pop("attributes").map(dict, na_action="ignore").dropna().tolist() == []
    assert expected.pop("attributes").dropna().tolist() == []
    order = ["start", "span", "process"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
    )


def test_a_statistic_of_several_captures_in_an_interval():
    both = qp.open([qp.sample("engine").path, qp.sample("slow_exchange").path])
    count = both.to_dask().groupby("capture", observed=True)["duration_ns"].count().compute()
    assert count.to_dict() == {"engine": 33479, "slow_exchange": 101527}
    part = qp.sample("slow_exchange").between("0.5s", "1s")
    assert len(part.to_dask()) == len(part.samples()) > 0


def test_a_capture_without_samples(tmp_path):
    class Idle(qp.Operation):
        STEP = qp.op()

    with qp.record(tmp_path / "capture"), Idle.STEP:
        pass
    assert len(qp.open(tmp_path / "capture").where({"error": "KeyError"}).to_dask()) == 0


def test_attributes(tmp_path):
    class Daily(qp.Operation):
        REQUEST = qp.op(attributes={"tenant": str})

    with qp.record(tmp_path / "capture"):
        for tenant in ("acme", "bolt", "acme"):
            with Daily.REQUEST(tenant=tenant):
                pass
    found = qp.open(tmp_path / "capture").to_dask()["attributes"].compute()
    assert [dict(one) for one in found] == [{"tenant": "acme"}, {"tenant": "bolt"}, {"tenant": "acme"}]
