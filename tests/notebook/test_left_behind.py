"""What the magics leave in a process, in its shell and on the disk: the capture, and nothing else."""

import json
import subprocess
import sys

import pytest

#: Callables and classes that are there before are there after, at the same places: nothing of anybody's is replaced.
#: Sockets, threads and handlers too.
SCRIPT = """
import asyncio, gc, json, os, signal, sys, threading, types
from pathlib import Path
import IPython.core.interactiveshell, ipykernel.zmqshell, ipykernel.ipkernel, matplotlib, numpy, pandas, psutil
import pyarrow.parquet, pyarrow.dataset
import quantum_pulse as qp, quantum_pulse.facade
from quantum_pulse.recorder import session
shell = IPython.core.interactiveshell.InteractiveShell.instance()

def callables(holder):
    return {name: value for name, value in list(vars(holder).items())
            if callable(value) or isinstance(value, (staticmethod, classmethod, property))}

def places():
    found = {}
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType) and not module.__name__.startswith("quantum_pulse"):
            found[module.__name__] = callables(module)
            for name, value in found[module.__name__].items():
                if isinstance(value, type):
                    found[f"{value.__module__}.{value.__qualname__}"] = callables(value)
    found["the shell"] = callables(shell)
    found["signals"] = {str(number): signal.getsignal(number) for number in signal.valid_signals()}
    hooks = "displayhook", "excepthook", "unraisablehook", "stdout", "stderr"
    found["hooks"] = {name: getattr(sys, name) for name in hooks}
    return found

def counted():
    process = psutil.Process()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "sockets": len(process.net_connections()),
        "children": len(process.children()),
        "collection hooks": len(gc.callbacks),
        "traced": [str(sys.gettrace()), str(sys.getprofile())],
        "files": sorted(str(file.path) for file in process.open_files()),
    }

warm_up = pandas.DataFrame({"a": [1]}).groupby("a").sum(), pandas.Timestamp("2020", tz="UTC")
before, counts = places(), counted()
shell.run_cell("%load_ext quantum_pulse")
shell.run_cell("import asyncio\\nimport quantum_pulse as qp\\nclass Op(qp.Operation): CELL, STEP = qp.op(), qp.op()")
for cell in CELLS:
    assert shell.run_cell(cell).success, cell
while_recording = counted()
shell.run_cell("%pulse_record stop")
after = places()
changed = [f"{where}.{name}" for where, known in before.items() if where in after
           for name, value in known.items() if name in after[where] and after[where][name] is not value]
gone = [f"{where}.{name}" for where, known in before.items() if where in after
        for name in known if name not in after[where]]
print("\\n" + json.dumps({"changed": changed, "gone": gone, "before": counts, "recording": while_recording,
      "after": counted(), "places": sum(map(len, before.values()))}))
"""
CELLS = [
    "%%pulse Op.CELL --repeat 60\nfor _ in range(3):\n    with Op.STEP:\n        pass\n'value'",
    "%%pulse Op.CELL --repeat 60 --baseline last\npass",
    "%%pulse Op.CELL --as found\nawait asyncio.sleep(0)",
    "found._repr_html_()",
]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left")
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("CELLS", repr(CELLS))],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100, env={"HOME": str(home), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_nothing_of_anybody_is_replaced(left):
    found, _ = left
    assert found["places"] > 10_000
    assert found["changed"] == []
    assert found["gone"] == []


def test_no_server_thread_or_open_file(left):
    found, _ = left
    assert found["after"] == found["before"]
    assert found["recording"]["sockets"] == found["before"]["sockets"]
    assert found["recording"]["children"] == 0
    assert found["recording"]["threads"] == found["before"]["threads"]
    assert found["recording"]["collection hooks"] == found["before"]["collection hooks"] + 1


def test_no_file_outside_of_the_capture(left):
    _, folder = left
    (capture,) = folder.glob("*/*")
    assert capture.parent == folder / "captures"
    assert [
        path for path in folder.rglob("*") if capture not in path.parents and path not in (capture, capture.parent)
    ] == []
    assert not list(capture.glob("rings/*"))
