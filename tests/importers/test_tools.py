"""Traces that real tools have written: their own writers make them. Tools that are not installed are skipped."""

import base64
import json
import subprocess
import sys

import pytest

import quantum_pulse as qp

BASE_NS = 1_795_469_677 * 10**9

TRACED = """
from viztracer import VizTracer

def leaf():
    return sum(range(100))

def branch():
    return [leaf() for _ in range(3)]

with VizTracer(output_file="t.json", verbose=0):
    for _ in range(5):
        branch()
"""


def test_viztracer(tmp_path):
    pytest.importorskip("viztracer", reason="viztracer is not installed")
    subprocess.run([sys.executable, "-c", TRACED], cwd=tmp_path, check=True, timeout=60)
    made = qp.import_trace(tmp_path / "t.json", tmp_path / "c")
    assert made.format == "viztracer"
    assert made.events == len(json.loads((tmp_path / "t.json").read_text())["traceEvents"])
    assert made.events == made.samples + sum(made.refused.values())
    assert made.lost == {}
    branch, leaf = (next(name for name in made.capture.operations if word in name) for word in ("BRANCH", "LEAF"))
    counts = made.capture.tree().groupby("operation")["count"].sum()
    assert (counts[branch], counts[leaf]) == (5, 15)
    paths = [path.split(" > ") for path in made.capture.tree().index]
    assert all(branch in path for path in paths if path[-1] == leaf)


@pytest.fixture
def request_of_spans():
    """A request of OTLP, as the SDK encodes it: orders that contain a query and a payment, which fails."""
    pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    encoder = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.common.trace_encoder",
        reason="opentelemetry-exporter-otlp-proto-common is not installed",
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop", "host.name": "one", "process.pid": 4711}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop.orders")
    for _ in range(5):
        with tracer.start_as_current_span("GET /orders"):
            with tracer.start_as_current_span("query"):
                pass
            with pytest.raises(ValueError), tracer.start_as_current_span("pay"):
                raise ValueError
    return encoder.encode_spans(exporter.get_finished_spans())


def as_json(request):
    """In OTLP's JSON, where ids are hexadecimal."""
    from google.protobuf import json_format

    content = json_format.MessageToDict(request)
    for resource in content["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in {"traceId", "spanId", "parentSpanId"} & set(span):
                    span[key] = base64.b64decode(span[key]).hex()
    return json.dumps(content).encode()


def delimited(request):
    content = request.SerializeToString()
    return len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize("encode", [lambda request: request.SerializeToString(), delimited, as_json])
def test_opentelemetry(encode, request_of_spans, tmp_path):
    (tmp_path / "trace").write_bytes(encode(request_of_spans))
    made = qp.import_trace(tmp_path / "trace", tmp_path / "c")
    assert (made.events, made.samples, made.refused, made.notes) == (15, 15, {}, [])
    tree = made.capture.tree()
    root = "ShopOrders.GET_ORDERS"
    assert tree["count"].to_dict() == {root: 5, f"{root} > ShopOrders.QUERY": 5, f"{root} > ShopOrders.PAY": 5}
    samples = made.capture.samples()
    assert samples.groupby("operation", observed=True)["error"].first().to_dict()["ShopOrders.PAY"] == "ValueError"
    assert set(samples["process"]) == {4711}
    (recording,) = (json.loads(file.read_text()) for file in (made.path / "processes").iterdir())
    assert (recording["pid"], recording["host"], recording["title"]) == (4711, "one", "shop")
    spans = [
        span for resource in request_of_spans.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]
    expected = sorted(
        (span.start_time_unix_nano, span.end_time_unix_nano - span.start_time_unix_nano) for span in spans
    )
    assert sorted(zip(samples["start"].astype("int64"), samples["duration_ns"], strict=True)) == expected


def test_perfetto(tmp_path):
    builders = pytest.importorskip("perfetto.trace_builder.proto_builder", reason="perfetto is not installed")
    builder = builders.TraceProtoBuilder()
    packets = 0

    def packet():
        nonlocal packets
        packets += 1
        added = builder.add_packet()
        added.trusted_packet_sequence_id = 7
        return added

    first = packet()
    first.clock_snapshot.primary_trace_clock = 6
    first.sequence_flags = 1
    for clock_id, reading in ((6, 1000), (1, BASE_NS + 1000)):
        clock = first.clock_snapshot.clocks.add()
        clock.clock_id, clock.timestamp = clock_id, reading
    relative = first.clock_snapshot.clocks.add()
    relative.clock_id, relative.timestamp, relative.is_incremental, relative.unit_multiplier_ns = 64, 1, True, 1000
    first.trace_packet_defaults.timestamp_clock_id = 64
    first.trace_packet_defaults.track_event_defaults.track_uuid = 2
    name = first.interned_data.event_names.add()
    name.iid, name.name = 1, "outer"
    described = packet()
    described.track_descriptor.uuid, described.track_descriptor.process.pid = 1, 9
    described.track_descriptor.process.process_name = "server"
    thread = packet().track_descriptor
    thread.uuid, thread.parent_uuid, thread.thread.pid, thread.thread.tid = 2, 1, 9, 10
    for kind, named in ((1, {"name_iid": 1}), (1, {"name": "inner"}), (2, {}), (3, {"name": "mark"}), (2, {})):
        added = packet()
        added.timestamp = 10  # µs after the packet before
        added.track_event.type = kind
        for key, value in named.items():
            setattr(added.track_event, key, value)
    (tmp_path / "t.pftrace").write_bytes(builder.serialize())
    made = qp.import_trace(tmp_path / "t.pftrace", tmp_path / "c")
    assert (made.format, made.events, made.samples, made.lost) == ("perfetto", packets, 2, {})
    assert made.events == made.samples + sum(made.refused.values())
    samples = made.capture.samples()
    assert samples["operation"].tolist() == ["Trace.OUTER", "Trace.INNER"]
    assert (samples["start"].astype("int64") - BASE_NS).tolist() == [11_000, 21_000]
    assert samples["duration_ns"].tolist() == [40_000, 10_000]
    assert samples["parent"].tolist() == [0, 1]
    assert set(zip(samples["process"], samples["thread"], strict=True)) == {(9, 10)}


def test_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with torch.profiler.profile() as profile:
        torch.nn.functional.relu(torch.rand(64, 64) @ torch.rand(64, 64)).sum()
    profile.export_chrome_trace(str(tmp_path / "t.json"))
    made = qp.import_trace(tmp_path / "t.json", tmp_path / "c")
    assert made.format == "kineto"
    assert made.events == len(json.loads((tmp_path / "t.json").read_text())["traceEvents"])
    assert made.lost == {}
    assert any("aten::relu" in text for text in made.capture.definitions()["description"])


def test_speedscope(tmp_path):
    frames = [{"name": name} for name in ("main", "load", "parse")]
    evented = [("O", 0, 0), ("O", 1, 10.5), ("C", 1, 20), ("C", 0, 30)]
    content = {
        "profiles": [
            {"events": [{"type": kind, "frame": frame, "at": at} for kind, frame, at in evented],
             "type": "evented", "name": "one", "unit": "microseconds", "startValue": 0, "endValue": 30},
            {"type": "sampled", "name": "two", "unit": "milliseconds", "startValue": 5, "endValue": 9,
             "samples": [[0, 1], [0, 1, 2], [0], [0, 2]], "weights": [1, 1, 1, 1]},
        ],
        "shared": {"frames": frames},
        "$schema": "https://www.speedscope.app/file-format-schema.json",
    }  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps({**dict(reversed(content.items()))}))
    made = qp.import_trace(tmp_path / "p.json", tmp_path / "c")
    assert made.format == "speedscope"
    assert made.events == made.samples + sum(made.refused.values()) == 4 + 4
    samples = made.capture.samples()
    rows = zip(samples["thread"], samples["operation"], samples["duration_ns"], strict=True)
    assert sorted(rows) == [
        (1, "Trace.LOAD", 9_500),
        (1, "Trace.MAIN", 30_000),
        (2, "Trace.LOAD", 2_000_000),
        (2, "Trace.MAIN", 4_000_000),
        (2, "Trace.PARSE", 1_000_000),
        (2, "Trace.PARSE", 1_000_000),
    ]
    assert sorted(made.capture.tree().loc[lambda tree: tree["depth"] == 2, "count"]) == [1]
