"""Large parts become one file of many row groups, piece by piece; whoever looks meanwhile sees each row once."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent import merging, packing, parts
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import DTYPES, Batch

ROWS = 3000
OPERATIONS = [
    Definition("Packed.A", "tests", "", Category("One")),
    Definition("Packed.B", "tests", "", Category("Two")),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A capture in which parts are large early, and a file is made of 5 of them."""
    monkeypatch.setattr(schema, "MERGED_ROWS", ROWS)
    monkeypatch.setattr(schema, "FINAL_ROWS", 2 * ROWS)
    monkeypatch.setattr(packing, "PARTS", 5)
    made = Folder(tmp_path)
    yield made
    made.merger.close()


class Folder:
    """A capture that parts are written into."""

    def __init__(self, path):
        with qp.record(path):
            pass
        self.path = path
        self.number = 0
        self.merger = merging.Merger(self.next_path)

    def next_path(self, table):
        self.number += 1
        return self.path / table / f"77-aaaaaaaa-{self.number:06d}.parquet"

    def write(self):
        path, first = self.next_path("samples"), self.number * ROWS
        columns = {name: np.zeros(ROWS, kind) for name, kind in DTYPES.items()}
        columns["span"] += np.arange(first, first + ROWS)
        columns["start"] += 10**18 + np.arange(first, first + ROWS) * 10_000
        columns["duration"] += 100 + np.arange(ROWS) % 7 * self.number
        columns["operation"] += (np.arange(ROWS) % 3 == 0).astype(np.uint32)
        columns["weight"] += 1
        columns["thread"] += 1
        parts.write_samples(
            path,
            Batch(columns),
            operations=OPERATIONS,
            texts=[""],
            unix=lambda start: start,
            process=77,
            footer={"format": schema.FORMAT_VERSION, "process": 77, "losses": []},
        )
        self.merger.add("samples", path, ROWS)
        self.merger.merge()

    @property
    def files(self):
        return sorted(path.name for path in (self.path / "samples").iterdir())

    def samples(self):
        return qp.open(self.path).samples()


def test_each_row_once_at_every_step(folder, tmp_path):
    for written in range(1, 24):
        folder.write()
        spans = folder.samples()["span"]
        assert len(spans) == written * ROWS
        assert spans.is_unique
    visible = [name for name in folder.files if not name.startswith(".")]
    assert len(visible) < 12, "23 parts"
    packed = [name for name in visible if pq.read_metadata(tmp_path / "samples" / name).num_row_groups == 5]
    assert len(packed) >= 3


def test_a_packed_file_says_what_its_rows_say(folder, tmp_path):
    for _ in range(9):
        folder.write()
    capture = qp.open(tmp_path)
    (packed,) = [path for path in (tmp_path / "samples").glob("[!.]*") if pq.read_metadata(path).num_row_groups == 5]
    footer = json.loads(pq.read_metadata(packed).metadata[schema.FOOTER_KEY.encode()])
    assert len(footer["merged"]) == 5
    assert {one["name"] for one in footer["operations"]} == {"Packed.A", "Packed.B"}
    assert sum(one["count"] for one in footer["histograms"]) == 5 * ROWS
    exact, rough = capture.stats(sort="operation"), capture.stats(approximate=True, sort="operation")
    for column in ("count", "errors", "mean_us", "min_us", "max_us"):
        assert exact[column].tolist() == pytest.approx(rough[column].tolist())
    assert exact["std_us"].tolist() == pytest.approx(rough["std_us"].tolist(), rel=1e-6)


def test_an_agent_that_ends_in_between_leaves_the_parts(folder, tmp_path):
    for _ in range(6):
        folder.write()
    assert [name for name in folder.files if name.endswith(".tmp")], "it has begun"
    folder.merger.finish()
    assert len(folder.files) == 6
    assert len(folder.samples()) == 6 * ROWS


def test_what_expires_in_between_is_not_brought_back(folder, tmp_path):
    for _ in range(6):
        folder.write()
    gone = tmp_path / "samples" / next(name for name in folder.files if not name.startswith("."))
    gone.unlink()
    folder.merger.forget([gone])
    assert not [name for name in folder.files if name.endswith(".tmp")]
    for _ in range(6):
        folder.write()
    assert len(folder.samples()) == 11 * ROWS


def test_a_disk_that_is_full_ends_packing_and_nothing_else(folder, tmp_path, monkeypatch):
    for _ in range(5):
        folder.write()

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(parts, "read", full)
    folder.merger.tidy()
    monkeypatch.undo()
    assert not [name for name in folder.files if name.endswith(".tmp")]
    assert len(folder.samples()) == 5 * ROWS
