"""Samples by their attributes: columns, groups, conditions, and readers that know nothing of us."""

import asyncio
import enum
import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent import parts

ROOT = Path(__file__).parents[2]


class Tier(enum.Enum):
    FREE = enum.auto()
    PAID = enum.auto()


class Shop(qp.Operation):
    REQUEST = qp.op("One request", attributes={"route": str, "status": int, "tenant": str, "tier": Tier}, cpu_time=True)
    QUERY = qp.op("One query", attributes={"rows": int, "route": str})
    PLAIN = qp.op("Without attributes")


def work(rounds):
    for number in range(rounds):
        with Shop.REQUEST(route=f"/{number % 3}", tenant=["acme", "umbrella"][number % 2], tier=Tier.PAID):
            with Shop.QUERY(rows=number % 4):
                pass
            with Shop.PLAIN:
                pass
            qp.annotate(status=502 if number % 5 == 0 else 200)
            if number % 5 == 0:
                qp.annotate(error="http 502")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("attributes") / "capture"
    with qp.record(path) as recorder:
        work(300)
        recorder.flush()
        work(300)
    return path


@pytest.fixture(scope="module")
def capture(path):
    return qp.open(path)


@pytest.fixture(scope="module")
def flat(capture):
    """All samples, an attribute a column."""
    samples = capture.samples()
    return pd.concat([samples, pd.DataFrame([one or {} for one in samples["attributes"]])], axis=1)


def test_columns(flat):
    requests = flat[flat["operation"] == "Shop.REQUEST"]
    assert flat["cpu_ns"].dtype == "Int64"
    assert requests["cpu_ns"].notna().all()
    assert (requests["cpu_ns"] <= requests["duration_ns"]).all()
    assert flat.loc[flat["operation"] == "Shop.QUERY", "cpu_ns"].isna().all()
    assert requests["attributes"].iloc[0] == {"route": "/0", "status": "502", "tenant": "acme", "tier": "PAID"}
    assert flat.loc[flat["operation"] == "Shop.PLAIN", "attributes"].isna().all()
    assert list(requests["error"].dropna().unique()) == ["http 502"]


@pytest.mark.parametrize(
    "by", [["operation", "route"], "route", ["tenant", "status"], ["rows"], ["operation", "error"]]
)
@pytest.mark.parametrize(
    "where",
    [None, {"tenant": "acme"}, {"status": [200, 201]}, {"route": None}, {"error": "http 502", "tenant": "acme"}],
)
def test_groups_and_conditions(capture, flat, by, where):
    chosen = flat
    for name, value in (where or {}).items():
        if value is None:
            chosen = chosen[chosen[name].isna()]
        else:
            chosen = chosen[chosen[name].isin([str(one) for one in (value if isinstance(value, list) else [value])])]
    levels = [by] if isinstance(by, str) else by
    expected = chosen.groupby(levels, dropna=False, observed=True)["duration_ns"].agg(["size", "max"])
    found = capture.stats(by, where=where)
    if "operation" in levels:
        found = found.droplevel("category")
    keys = [
        tuple(None if pd.isna(one) else one for one in (key if len(levels) > 1 else (key,))) for key in expected.index
    ]
    own = [tuple(None if pd.isna(one) else one for one in (key if len(levels) > 1 else (key,))) for key in found.index]
    assert dict(zip(own, found["count"], strict=True)) == dict(zip(keys, expected["size"], strict=True))
    longest = dict(zip(keys, expected["max"] / 1000, strict=True))
    assert dict(zip(own, found["max_us"], strict=True)) == pytest.approx(longest)


def test_declared_errors_count(capture):
    stats = capture.stats()
    assert stats.loc[("Shop", "Shop.REQUEST"), "errors"] == 120
    assert capture.stats(approximate=True).loc[("Shop", "Shop.REQUEST"), "errors"] == 120
    assert capture.stats(where={"status": 502}, approximate=True)["errors"].tolist() == [120]


def test_conditions_everywhere(capture, flat):
    acme = flat[flat["tenant"] == "acme"]
    where = {"tenant": "acme"}
    assert capture.samples(where=where)["span"].tolist() == acme["span"].tolist()
    assert sum(len(one) for one in capture.iter_samples(where=where, rows=50)) == len(acme)
    assert capture.samples(where=where, columns=["span"]).columns.tolist() == ["span"]
    longest = acme.sort_values(["duration_ns", "start"], ascending=[False, True])["span"].tolist()
    assert capture.slowest(5, where=where).table["span"].tolist() == longest[:5]
    assert capture.heatmap(Shop.REQUEST, where=where).to_numpy().sum() == len(acme)
    assert capture.validate(where=where)["count"].tolist() == [len(acme)]
    timeline = capture.timeline("1s", by="route", where=where)
    assert timeline.index.names == ["time", "route"]
    assert timeline["count"].groupby("route").sum().to_dict() == acme.groupby("route").size().to_dict()
    table = capture.compare(capture.path, where=where).table
    assert set(table["operation"]) == {"Shop.REQUEST"}


def test_exports(capture, flat, tmp_path):
    acme = flat[flat["tenant"] == "acme"]
    where = {"tenant": ["acme"]}
    for name in ("a.parquet", "a.csv", "a.arrow", "a.trace.json"):
        assert capture.export(tmp_path / name, where=where).rows == len(acme)
    text = pd.read_csv(tmp_path / "a.csv")["attributes"].map(json.loads)
    assert text.tolist() == acme["attributes"].tolist()
    document = capture.export(tmp_path / "a.json", where=where)
    assert document.rows == 1
    assert json.loads((tmp_path / "a.json").read_text())["selection"]["where"] == {"tenant": ["acme"]}
    with pytest.raises(ValueError, match="select them by time"):
        capture.export(tmp_path / "m.csv", table="metrics", where=where)


def test_the_command_line(path, tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "quantum_pulse", *map(str, words)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    shown = run("stats", path, "--by", "operation,route", "--where", "tenant=acme", "--where", "status=200")
    assert shown.returncode == 0, shown.stderr
    assert "/1" in shown.stdout
    assert "240" not in shown.stdout
    wrong = run("stats", path, "--where", "tennant=acme")
    assert wrong.returncode == 2
    assert "did you mean 'tenant'?" in wrong.stderr
    assert "tenant=acme" in run("stats", path, "--where", "tenant").stderr
    exported = run("export", path, "-o", tmp_path / "x.csv", "--where", "tenant=acme", "--where", "tenant=umbrella")
    assert exported.returncode == 0, exported.stderr
    assert len(pd.read_csv(tmp_path / "x.csv")) == 600
    compared = run("compare", path, path, "--where", "route=/1", "--format", "json")
    assert compared.returncode == 0, compared.stderr
    assert {row["operation"] for row in json.loads(compared.stdout)["rows"]} <= {"Shop.REQUEST"}


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"where": {"tennant": "acme"}}, "did you mean 'tenant'"),
        ({"where": {"tenant": []}}, "has no values"),
        ({"by": "rout"}, "did you mean 'route'"),
    ],
)
def test_mistakes(capture, mistake, said):
    with pytest.raises(ValueError, match=said):
        capture.stats(**mistake)


def test_mistakes_of_type(capture):
    with pytest.raises(TypeError, match="must map names to values"):
        capture.stats(where="tenant=acme")
    with pytest.raises(TypeError, match="the value of an attribute"):
        capture.stats(where={"tenant": object()})


def test_other_readers(path, flat):
    files = str(path / "samples" / "*.parquet")
    expected = flat.dropna(subset=["tenant"]).groupby("tenant").size().to_dict()
    query = (
        f"select attributes['tenant'] as t, count(*) from '{files}' where attributes['tenant'] is not null group by t"
    )
    assert dict(duckdb.sql(query).fetchall()) == expected
    (kind,) = duckdb.sql(f"select typeof(attributes) from '{files}' limit 1").fetchall()
    assert kind == ("MAP(VARCHAR, VARCHAR)",)
    tenants = pl.scan_parquet(files).select(pl.col("attributes").map.get("tenant").alias("tenant")).drop_nulls()
    assert dict(tenants.group_by("tenant").len().collect().rows()) == expected
    plain = pd.read_parquet(path / "samples")
    assert plain["attributes"].notna().sum() == flat["attributes"].notna().sum()


def test_what_operations_declare(capture):
    table = capture.attributes()
    assert table.loc[("Shop.REQUEST", "tier")].tolist() == ["str", "FREE, PAID", 0]
    assert table.loc[("Shop.QUERY", "rows"), "type"] == "int"


def test_values_beyond_the_bound_are_counted(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path, attribute_values=10) as recorder:
        for round_ in range(3):
            for number in range(20):
                with Shop.REQUEST(route=f"/{number}", status=number):
                    pass
            if round_ < 2:
                recorder.flush()
    capture = qp.open(path)
    table = capture.attributes()[schema.OTHER]
    assert table.loc[("Shop.REQUEST", "route")] == 30
    assert table.loc[("Shop.REQUEST", "status")] == 0, "numbers are kept"
    assert capture.stats("route").loc[schema.OTHER, "count"] == 30
    assert capture.losses().empty
    merged = parts.read(next((path / "samples").glob("*.parquet")), "samples")
    assert merged[1]["others"] == [{"operation": "Shop.REQUEST", "attribute": "route", "count": 30}]


def test_several_captures(path, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(path, other)
    both = qp.open([path, other])
    counts = both.stats(["capture", "tenant"])["count"]
    assert counts.groupby("tenant").sum().to_dict() == {"acme": 600, "umbrella": 600}


def test_captures_without_attributes(tmp_path):
    capture = qp.open(ROOT / "sample_data" / "engine")
    samples = capture.samples(columns=["attributes", "cpu_ns"])
    assert samples.isna().all(axis=None)
    assert capture.attributes().empty
    with pytest.raises(ValueError, match="no attribute 'tenant'"):
        capture.stats(where={"tenant": "acme"})


def test_an_older_capture_beside_a_newer_one(path, flat):
    engine = ROOT / "sample_data" / "engine"
    old = len(qp.open(engine).samples(columns=["span"]))
    both = qp.open([path, engine])
    assert both.samples(columns=["attributes"])["attributes"].isna().sum() == old + flat["attributes"].isna().sum()
    assert len(both.samples(where={"tenant": "acme"})) == (flat["tenant"] == "acme").sum()
    assert both.stats("tenant")["count"].tolist() == [300, 300, old + len(flat) - 600]


def test_tasks(tmp_path):
    async def request(number):
        with Shop.REQUEST(route=f"/{number}"):
            await asyncio.sleep(0)
            qp.annotate(status=number)

    async def main():
        await asyncio.gather(*map(request, range(5)))

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    samples = qp.open(tmp_path / "capture").samples()
    assert [(one["route"], one["status"]) for one in samples["attributes"]] == [(f"/{n}", str(n)) for n in range(5)]
    assert samples["cpu_ns"].isna().all()
