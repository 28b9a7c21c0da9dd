# ruff: noqa: E501 - cells are shown as one line each
"""A cell under %%pulse behaves as it does without it, and the answer below says what is so."""

import ast
import builtins
import os
import re
import signal
import sys
import time

import jupyter_client
import nbclient
import nbformat
import pytest

import quantum_pulse as qp

SETUP = """\
%load_ext quantum_pulse
import asyncio, sys, os
import quantum_pulse as qp
class Op(qp.Operation):
    CELL = qp.op("A cell", budget_us=10**9)
    STEP = qp.op("A step of it")
"""

CORPUS = [
    "1 + 1",
    "1 + 1;",
    "'text'",
    "None",
    "x = 5",
    "x = 5\nx",
    "x = 5; x",
    "x = [1, 2]\nx.append(3)\nx",
    "x: int = 3\nx",
    "(y := 4)",
    "pass",
    "# nothing but a comment",
    "print('out')",
    "print('out')\n'value'",
    "print('err', file=sys.stderr)",
    "1\n2\n3",
    "for n in range(3):\n    print(n)",
    "for n in range(3):\n    n",
    "if True:\n    5",
    "def f(a):\n    return a * 2\nf(4)",
    "def g():\n    1 / 0\ng()",
    "class C:\n    z = 1\nC.z",
    "@staticmethod\ndef h():\n    return 1\nh",
    "import functools\n@functools.lru_cache\ndef k(n):\n    return n\nk(3)",
    "lambda: 3",
    "[n for n in range(4)]",
    "{n: n for n in range(3)}",
    "s = '''one\n  two\n%%pulse Op.CELL\n'''\ns",
    's = """a\\\nb"""\ns',
    "r'\\d+'",
    "f'{1 + 1:>4}'",
    "'ünï→cødé'",
    "1 / 0",
    "\n\n1 / 0",
    "a = 1\nb = 2\nundefined_name",
    "raise ValueError('on\\npurpose')",
    "raise SystemExit",
    "try:\n    1 / 0\nfinally:\n    print('finally')",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e2 = str(e)\ne2",
    "assert 1 == 2, 'no'",
    "def broken(:\n    pass",
    "x = = 1",
    "if True:\nprint(1)",
    "return 5",
    "yield 5",
    "'unterminated",
    "from __future__ import annotations\ndef q(a: nowhere): return 1\nq.__annotations__",
    "import math as m\nm.pi",
    "from math import *\ntau",
    "del_me = 1\ndel del_me\n'del_me' in globals()",
    "global gg\ngg = 3\ngg",
    "globals()['made'] = 7\nmade",
    "!echo shell",
    "out = !echo one two\nout",
    "%time pass\n7" if False else "%precision 3\n1/3",
    "%pwd",
    "here = %pwd\nhere == os.getcwd()",
    "get_ipython().run_line_magic('pwd', '')",
    "await asyncio.sleep(0)",
    "await asyncio.sleep(0, 'slept')",
    "await asyncio.sleep(0, 'slept');",
    "r = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))\nr",
    "async def co():\n    return 9\nawait co()",
    "async with asyncio.timeout(5):\n    w = 1\nw",
    "async def agen():\n    yield 1\n[v async for v in agen()]",
    "await asyncio.sleep(0)\n1 / 0",
    "asyncio.get_running_loop().is_running()",
    "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\n3",
    "class R:\n    def _repr_html_(self): return '<i>r</i>'\n    def __repr__(self): return 'r'\nR()",
    "import warnings\nwarnings.warn('careful')",
    "match 5:\n    case 5:\n        hit = True\nhit",
    "with open(os.devnull) as nothing:\n    nothing.read()",
    "x = 1\n\n\n",
    "  1 + 2",
    "_",
    "from IPython.display import Image\nimport base64\nImage(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='))",
    "def deep(n):\n    return n if n == 0 else deep(n - 1)\ndeep(50)",
    "__name__",
    "sorted(k for k in globals() if k.startswith('__') and k != '__annotations__')",
]
NAMES = "{k: repr(v)[:80] for k, v in sorted(globals().items()) if not k.startswith('_') and k not in HIDDEN}"


def notebook(sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def execute(sources, folder, **options):
    client = nbclient.NotebookClient(
        notebook(sources),
        timeout=100,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        **options,
    )
    return client.execute().cells[: len(sources)]


def outputs(cell):
    """What a reader of the notebook would see, without what differs from run to run."""
    seen = []
    for output in cell.outputs:
        kind = output.output_type
        if kind == "error":
            lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.traceback]
            # Lines of the cell itself, as the user sees them.
            numbers = re.findall(r"Cell In\[\d+\], line (\d+)", "\n".join(lines))
            seen.append((kind, output.ename, output.evalue, tuple(map(int, numbers))))
        elif kind == "stream":
            seen.append((kind, output.name, re.sub(r"/tmp/ipykernel_\S+|0x[0-9a-f]+", "X", output.text)))
        else:
            seen.append((kind, re.sub(r"0x[0-9a-f]+", "X", str(dict(output.data)))))
    return seen


def is_answer(output):
    return "qp-pulse" in output.get("data", {}).get("text/html", "")


def test_cells_are_unharmed(tmp_path):
    hidden = "HIDDEN = {'HIDDEN', 'get_ipython', 'In', 'Out', 'exit', 'quit', 'open'} | set(globals())"
    plain = execute([SETUP, hidden, *CORPUS, NAMES], tmp_path)
    timed = execute([SETUP, hidden, *[f"%%pulse Op.CELL\n{source}" for source in CORPUS], NAMES], tmp_path)
    assert len(CORPUS) >= 60
    differing = []
    for source, one, other in zip(CORPUS, plain[2:-1], timed[2:-1], strict=True):
        answers = sum(map(is_answer, other.outputs))
        other.outputs = [output for output in other.outputs if not is_answer(output)]
        expected, found = [comparable(row, 0) for row in outputs(one)], [comparable(row, 1) for row in outputs(other)]
        # What cannot be compiled does not run, so there is nothing to answer.
        if expected != found or answers != (0 if is_malformed(expected) else 1):
            differing.append((source, expected, found, answers))
    assert differing == []
    assert outputs(plain[-1]) == outputs(timed[-1]), "the same names with the same values"


def is_malformed(rows):
    return any(row[0] == "error" and issubclass(getattr(builtins, row[1]), SyntaxError) for row in rows)


def comparable(row, is_timed):
    """Without the magic the lines are one up; under it the first frame is that of the magic."""
    if row[0] != "error":
        return row
    kind, name, message, numbers = row
    if is_malformed([row]):
        return kind, name
    return kind, name, message, tuple(number - is_timed for number in numbers[is_timed:])


def test_the_answer(tmp_path):
    cells = execute(
        [
            SETUP,
            "%%pulse Op.CELL --repeat 20 --as found --warmup 2\nfor _ in range(3):\n    with Op.STEP:\n        pass\n'value'",
            "[len(found.durations_ns), found.inside['count'].tolist(), found.judgement.verdict, len(found.capture.samples(Op.CELL))]",
            "%%pulse --quiet Op.CELL --as more\npass",
            "[len(more.durations_ns), more.judgement.earlier]",
            "%%pulse Op.CELL --for 0.05 --as long --quiet\npass",
            "len(long.durations_ns) > 100",
            "%pulse Op.STEP --quiet --as line sum(range(10))",
            "line.name",
            "%%pulse Op.CELL --repet 3\n1",
            "%%pulse Op.CELL --repeat none\n1",
            "%%pulse Op.CEL\n1",
            "%%pulse print(1)\n1",
            "%%pulse Op.CELL Op.STEP\n1",
            "%pulse_record status",
            "%pulse_record sotp",
            "%pulse_record stop",
            "%%pulse Op.CELL --baseline last --into other --as against --quiet\n1",
            "[against.baseline != '', len(against.baseline_ns) > 100, against.path.name]",
        ],
        tmp_path,
    )
    text = ["".join(str(output) for output in cell.outputs) for cell in cells]
    (answer,) = [output for output in cells[1].outputs if is_answer(output)]
    assert "Op.CELL: median" in answer["data"]["text/plain"]
    assert "of 20 runs" in answer["data"]["text/plain"]
    assert "the first run in this session" in answer["data"]["text/plain"]
    assert "within its budget" in answer["data"]["text/plain"]
    assert "Op.STEP" in answer["data"]["text/html"]
    assert "'value'" in text[1]
    assert "[20, [60], 'first', 20]" in text[2]
    assert "qp-pulse" not in text[3]
    assert "[1, 20]" in text[4]
    assert "True" in text[6]
    assert "Op.STEP" in text[8]
    assert "no option --repet; did you mean --repeat?" in text[9]
    assert "--repeat needs a whole number of at least 1, not 'none'" in text[10]
    assert "did you mean Op.CELL?" in text[11]
    assert "not 'print(1)'" in text[12]
    assert "what is 'Op.STEP'?" in text[13]
    assert "samples, 0 still open" in text[14]
    assert "did you mean stop?" in text[15]
    assert "recorded into" in text[16]
    assert "[True, True, 'other']" in text[18]


BARE = """
import statistics, time
found = []
for _ in range(51):
    begun = time.perf_counter_ns()
    time.sleep(0.01)
    found.append(time.perf_counter_ns() - begun)
int(statistics.median(found))
"""


def test_what_is_timed_is_the_cell_alone(tmp_path):
    sleep = "%%pulse Op.CELL --repeat 51 --as sleep --quiet\nimport time\ntime.sleep(0.01)"
    cells = execute(
        [
            SETUP,
            "%%pulse Op.CELL --repeat 500 --warmup 50 --as empty --quiet\npass",
            "empty.duration_ns",
            *(sleep, "sleep.duration_ns", BARE) * 3,
        ],
        tmp_path,
    )
    values = [ast.literal_eval(cell.outputs[0]["data"]["text/plain"]) for cell in cells[2:] if cell.outputs]
    empty, *slept = values
    assert empty < 3_000
    # How late a sleeper wakes is the machine's affair, so beside two readings of the clock around the same sleep; a
    # machine that is busy with something else gets three tries.
    assert min(abs(ours / bare - 1) for ours, bare in zip(slept[::2], slept[1::2], strict=True)) < 0.01
    assert min(slept) >= 10_000_000


def test_a_kernel_that_is_interrupted_and_killed(tmp_path):
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        client.execute_interactive(SETUP, timeout=60)
        client.execute("%%pulse Op.CELL\nimport time\ntime.sleep(60)")
        time.sleep(1.5)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=20)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        client.execute_interactive(
            "%%pulse Op.CELL --quiet\nthreads = len(__import__('threading').enumerate())", timeout=60
        )
        client.execute(
            "%%pulse Op.CELL\nfor _ in range(1000):\n    with Op.STEP:\n        pass\nimport time\nprint('ran', flush=True)\ntime.sleep(60)"
        )
        while True:
            message = client.get_iopub_msg(timeout=20)
            if message["msg_type"] == "stream" and "ran" in message["content"]["text"]:
                break
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    (path,) = (tmp_path / "captures").iterdir()
    samples = qp.open(path).samples()
    assert samples["operation"].value_counts().to_dict() == {"Op.STEP": 1000, "Op.CELL": 2}
    assert samples[samples["operation"] == "Op.CELL"]["error"].iloc[0] == "KeyboardInterrupt"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["captures"]


def test_in_a_terminal(tmp_path):
    import subprocess

    script = SETUP + "get_ipython().run_cell_magic('pulse', 'Op.CELL --repeat 3', '1 + 1\\n')\n"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--quick"],
        input=script + "exit\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "of 3 runs" in done.stdout
    assert "Out[" in done.stdout


@pytest.mark.parametrize("symbol", ["Op.C", "--re"])
def test_completion(symbol):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_cell(SETUP)
    magics = shell.magics_manager.registry["PulseMagics"]

    class Event:
        pass

    event = Event()
    event.symbol = symbol
    assert magics.complete(shell, event) == [{"Op.C": "Op.CELL", "--re": "--repeat"}[symbol]]
