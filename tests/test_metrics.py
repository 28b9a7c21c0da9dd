"""The declarations of metrics: what is derived from them agrees with them."""

from quantum_pulse import metrics, schema
from quantum_pulse.analysis import recommendations
from quantum_pulse.diagnosis import verdict
from quantum_pulse.reading import format as capture_format
from quantum_pulse.view import numbers

UNITS = {"%", "bytes", "us", "cores", "tasks", "threads", "faults", "switches", "slices", "pages", "periods", "times"}


def test_names_are_unique_and_tell_their_units():
    assert len(set(metrics.NAMES)) == len(metrics.METRICS)
    for metric in metrics.METRICS:
        assert metric.unit in UNITS | {"collections", "processes"}
        for ending, unit in (("_bytes", "bytes"), ("_us", "us"), ("_percent", "%")):
            assert metric.name.endswith(ending) == (metric.unit == unit), metric.name
        assert metric.meaning.endswith(".")
        assert (metric.scope == "container") == metric.name.startswith("container_")


def test_the_table_has_a_column_for_each():
    columns = {column.name: column for column in schema.METRICS}
    assert list(columns) == ["time", "interval_ns", "process", *metrics.NAMES]
    for metric in metrics.METRICS:
        column = columns[metric.name]
        assert (column.type, column.unit, column.nullable) == (metric.type, metric.unit, metric.nullable)
    text = capture_format.document()
    assert all(text.count(f"`{name}`") >= 2 for name in metrics.NAMES), "once in the table, once by scope"


def test_metrics_of_version_2_may_be_null():
    version_1 = metrics.NAMES[: metrics.NAMES.index("gc_pause_us") + 1]
    assert len(version_1) == 18
    assert all(metric.nullable for metric in metrics.METRICS if metric.name not in version_1)


def test_advice_and_signs_are_of_metrics_that_there_are():
    assert recommendations.ADVICE.keys() <= set(metrics.NAMES)
    assert {name for names, *_ in recommendations.RESOURCES.values() for name in names} <= set(metrics.NAMES)
    assert {name for name, *_ in verdict._SIGNS} <= set(metrics.NAMES)


def test_values_are_shown_in_their_unit():
    assert numbers.metric("run_queue_us", 1_500) == "1.5 ms"
    assert numbers.metric("container_memory_bytes", 2_000_000) == "2 MB"
    assert numbers.metric("cpu_steal_percent", 12.3) == "12 %"
    assert numbers.metric("container_cpu_quota", 1.5) == "1.5"
    assert numbers.metric("voluntary_switches", float("nan")) == "–"
