"""What a fleet takes: the plan is the sum of its parts, and near what a capture takes that is there."""

import pytest

import quantum_pulse as qp
from quantum_pulse import planning


def test_a_plan_grows_with_what_it_is_of():
    one = planning.plan(1000, operations=10, hosts=1, days=1)
    many = planning.plan(1000, operations=10, hosts=100, days=30)
    assert one.samples_host_day == 86_400_000
    assert many.bytes_fleet == pytest.approx(3000 * one.bytes_fleet, rel=1e-6)
    assert many.upload_fleet_bytes_s == pytest.approx(100 * one.upload_host_bytes_s)
    assert many.statistics_hour_s == one.statistics_hour_s
    assert planning.plan(1000, operations=100).bytes_host_day > one.bytes_host_day
    assert planning.plan(1000, metrics_interval_s=10).bytes_host_day < one.bytes_host_day


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": 1, "operations": 0}, {"rate": 1, "hosts": 1.5}, {"rate": 1, "days": 0}]
)
def test_what_cannot_be_planned(wrong):
    with pytest.raises(ValueError, match=next(name for name in reversed(wrong))):
        planning.plan(**wrong)


def test_the_constants_are_about_those_of_a_real_recording():
    path = qp.sample("slow_exchange").path
    taken = sum(file.stat().st_size for file in (path / "samples").iterdir())
    rows, operations = len(qp.open(path).samples()), len(qp.open(path).operations)
    known = planning.MEASURED
    planned = rows * known.sample_bytes + known.part_bytes + operations * known.part_operation_bytes
    assert planned == pytest.approx(taken, rel=0.5)
