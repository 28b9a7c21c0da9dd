"""All readers against files that were changed at random, with sound checksums and without.

``EXAMPLES=300 pytest tests/faults/test_fuzz.py`` looks for ten minutes.
"""

import json
import os
import random
import resource
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_pulse import schema
from tests.faults import hostile

FEW = 6
EXAMPLES = int(os.environ.get("EXAMPLES", FEW))
#: Memory beyond what the process had before, in kB.
MOST_KB = 1 << 20

EXTREME = (0, 1, -1, (1 << 31) - 1, 1 << 31, 1 << 53, (1 << 62), (1 << 63) - 1, -(1 << 63), -(1 << 62))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A sound capture, to be copied."""
    return hostile.record(tmp_path_factory.mktemp("fuzz") / "capture", calls=100)


def bytes_changed(file, chance):
    """Some bytes of a file, cut, zeroed, turned over or put in."""
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 1, 3, 30])):
        at = chance.randrange(len(content) or 1)
        length = min(chance.choice([1, 1, 8, 200]), len(content) - at)
        kind = chance.randrange(4)
        if kind == 0:
            content[at : at + length] = bytes(length)
        elif kind == 1:
            content[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            content[at:at] = chance.randbytes(length)
        elif chance.random() < 0.3:
            del content[at:]
    file.write_bytes(content)


def values_changed(file, chance):
    """Some values of a Parquet file, which is written anew."""
    table = pq.read_table(file)
    for _ in range(chance.choice([1, 2, 5])):
        field = chance.choice(list(table.schema))
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        values = [float("nan"), float("inf"), 1e308, -1.0, 0.5] if pa.types.is_floating(kind) else EXTREME
        if pa.types.is_string(kind):
            values = ["", "\x1b[2J", "x" * 10_000, "\ud7ff\U0010ffff", "=1", None]
        elif pa.types.is_int32(kind):
            values = [one for one in EXTREME if abs(one) < 1 << 31]
        value = chance.choice([*values, None])
        table = hostile.with_value(field.name, value, chance.randrange(max(table.num_rows, 1)))(table)
    hostile.rewrite(
        file, lambda _: table, lambda content: json_changed(content, chance) if chance.random() < 0.5 else None
    )


def json_changed(content, chance):
    """The same content with another value, key or type somewhere in it."""
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return content
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and chance.random() < 0.8:
            place = place[key]
            continue
        kinds = [None, True, 1.5, -1, 1 << 70, float("nan"), float("inf"), "", "\x1b[2J", [], {}, [1], {"a": 1}]
        place[key] = chance.choice([*kinds, *EXTREME])
        if isinstance(place, dict) and chance.random() < 0.2:
            del place[key]
        return content


def changed(file, chance):
    """Change a file of a capture in some way."""
    if file.suffix == ".parquet" and chance.random() < 0.7:
        values_changed(file, chance)
    elif file.suffix == ".json" and chance.random() < 0.8:
        file.write_text(json.dumps(json_changed(json.loads(file.read_text()), chance)))
    else:
        bytes_changed(file, chance)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == FEW,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 1 << 32))
@pytest.mark.timeout(900)
def test_whatever_a_file_says_it_is_read_or_named(recorded, tmp_path, seed):
    chance = random.Random(seed)
    folder = tmp_path / "fuzz"
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        path = hostile.copied(recorded, folder)
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != schema.MANIFEST]
        for file in chance.sample(files, chance.choice([1, 1, 2])):
            changed(file, chance)
        assert hostile.faults(path, folder) == []
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB
    finally:
        shutil.rmtree(folder)
