"""Captures that somebody made to do harm, or that broke in a way that no checksum tells; and all that reads one."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

import quantum_pulse as qp
from quantum_pulse import schema

#: For `with_value`: what the first row has.
FIRST = "first"


class Harm(qp.Operation):
    OUTER = qp.op("Encloses", budget_us=1)
    INNER = qp.op("Enclosed", expect_us=(0.1, 1e6))


def record(path, rounds=2, calls=300):
    """A capture of some recordings of this process, each with a part of samples, of metrics and of events."""
    import gc
    import time

    for _ in range(rounds):
        with qp.record(path, metrics_interval_s=0.01):
            for number in range(calls):
                with Harm.OUTER, Harm.INNER:
                    pass
                if number % 100 == 0:
                    gc.collect()
                    time.sleep(0.02)
    return path


#: Arguments: the capture, and the user to become, 0 for none.
KILLED = """
import os, signal, sys
import quantum_pulse as qp
from quantum_pulse.agent import agent
agent.LONGEST_WAIT_S = 60.0
user = int(sys.argv[2])
if user:
    import pyarrow.parquet  # before this user may not read it any more
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
class K(qp.Operation):
    A = qp.op()
qp.start(sys.argv[1], writer="thread")
for _ in range(100):
    with K.A:
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def record_and_be_killed(path, user=0):
    """Make a capture with the ring of a process of `user` that was killed before its 100 samples were written."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(user)], check=False)
    assert done.returncode == -signal.SIGKILL


def rewrite(file, change, footer=None):
    """The Parquet file as a recorder would write it, of the rows that `change` makes of its own; `footer` changes what
    its footer says. All checksums are right."""
    table = pq.read_table(file)
    text = (table.schema.metadata or {}).get(schema.FOOTER_KEY.encode()) or pq.read_metadata(file).metadata[
        schema.FOOTER_KEY.encode()
    ]
    content = json.loads(text)
    if footer is not None:
        content = footer(content) or content
    text = json.dumps(content)
    table = change(table).replace_schema_metadata(
        {schema.FOOTER_KEY: text, schema.FOOTER_CHECKSUM_KEY: f"{zlib.crc32(text.encode()):08x}"}
    )
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def with_value(column, value, row=5):
    """A change for `rewrite` that puts `value` into one row of a column."""

    def change(table):
        field = table.schema.field(column)
        plain = table[column].cast(field.type.value_type) if pa.types.is_dictionary(field.type) else table[column]
        is_time = pa.types.is_timestamp(plain.type)
        values = plain.cast(pa.int64()).to_pylist() if is_time else plain.to_pylist()
        values[min(row, len(values) - 1)] = values[0] if value is FIRST else value
        changed = pa.array(values, pa.int64()).cast(plain.type) if is_time else pa.array(values, plain.type)
        return table.set_column(table.schema.get_field_index(column), field.name, changed)

    return change


def readers(capture, folder):
    """By name, everything that is read from a capture."""
    samples = capture.samples
    some = next(iter(capture.operations), None)

    def contrast():
        first, last = (samples()["start"].agg(one) for one in ("min", "max"))
        capture.contrast(first, first + (last - first) / 2)

    found = {
        "samples": samples,
        "iter_samples": lambda: list(capture.iter_samples()),
        "stats": capture.stats,
        "stats by": lambda: capture.stats(by=["process", "thread", "error"]),
        "approximate": lambda: capture.stats(approximate=True),
        "tree": capture.tree,
        "timeline": lambda: capture.timeline("1min"),
        "slowest": lambda: [one.children for one in capture.slowest(2)],
        "validate": capture.validate,
        "budgets": capture.budgets,
        "overhead": capture.overhead,
        "definitions": capture.definitions,
        "metrics": capture.metrics,
        "events": capture.events,
        "losses": capture.losses,
        "unfinished": capture.unfinished,
        "repr": lambda: (repr(capture), capture._repr_html_()),
        "correlate": capture.correlate,
        "contrast": contrast,
        "compare": lambda: repr(capture.compare(capture)),
        "report": lambda: capture.report(folder / "report.html").write(folder / "report.md"),
        **{
            f"export {name}": lambda name=name: capture.export(folder / name, overwrite=True)
            for name in ("out.csv", "out.json", "out.parquet", "out.trace.json")
        },
    }
    if some is not None:
        found["heatmap"] = lambda: capture.heatmap(capture.operations[some])
    return found


def faults(path, folder):
    """What raised something else than QuantumPulseError, or took more than two seconds, when `path` was read."""
    import time
    import traceback

    found = []

    def attempt(name, work):
        began = time.process_time()
        try:
            return work()
        except qp.QuantumPulseError:
            return None
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            where = " < ".join(
                f"{one.name}:{one.lineno}" for one in reversed(traceback.extract_tb(error.__traceback__)[-4:])
            )
            found.append(f"{name}: {type(error).__name__}: {str(error)[:80]} ({where})")
            return None
        finally:
            took = time.process_time() - began
            if took > 2:
                found.append(f"{name}: {took:.1f} s")

    capture = attempt("open", lambda: qp.open(path))
    if capture is not None:
        for name, work in readers(capture, folder).items():
            attempt(name, work)
    return found


def causes(path):
    """What `losses()` says after all samples, metrics and events were read."""
    capture = qp.open(path)
    capture.samples(), capture.metrics(), capture.events()
    return "\n".join(capture.losses()["cause"])


def copied(path, folder):
    """A copy of a capture."""
    return shutil.copytree(path, folder / "capture", symlinks=True)


def in_bounds(code, *arguments, seconds=20, megabytes=1500):
    """What a program prints that may take so much memory and time."""

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
