# ruff: noqa: E501 - cells are shown as one line each
"""Cells of every kind, run with and without the magic, and how what they left behind is compared."""

import builtins
import re

SETUP = """\
%load_ext quantum_pulse
import asyncio, os, signal, sys, time
import quantum_pulse as qp
class Op(qp.Operation):
    CELL = qp.op("A cell", budget_us=10**9)
    STEP = qp.op("A step of it")
"""
HIDE = "HIDDEN = {'HIDDEN', 'get_ipython', 'In', 'Out', 'exit', 'quit', 'open'} | set(globals())"
NAMES = "{k: repr(v)[:80] for k, v in sorted(globals().items()) if not k.startswith('_') and k not in HIDDEN}"
MAGIC = "%%pulse Op.CELL\n"

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
    "x, *rest = range(4)\nrest",
    "*range(3),",
    "pass",
    ";",
    "# nothing but a comment",
    "print('out')",
    "print('out')\n'value'",
    "print('err', file=sys.stderr)",
    "sys.stdout.write('no end of line')",
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
    "ünï = 1\nﬁve = 5\n(ünï, five)",
    "x = 1\n'no docstring'\n__doc__",
    "1 / 0",
    "\n\n1 / 0",
    "a = 1\nb = 2\nundefined_name",
    "raise ValueError('on\\npurpose')",
    "raise SystemExit",
    "raise BaseException('base')",
    "raise KeyboardInterrupt",
    "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)",
    "print('before', flush=True)\nos.kill(os.getpid(), signal.SIGINT)\nawait asyncio.sleep(9)",
    "try:\n    1 / 0\nfinally:\n    print('finally')",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e2 = str(e)\ne2",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('chained') from e",
    "assert 1 == 2, 'no'",
    "def broken(:\n    pass",
    "x = = 1",
    "if True:\nprint(1)",
    "return 5",
    "print('runs')\nreturn 5",
    "yield 5",
    "'unterminated",
    "if True:\n\ta = 1\n        b = 2",
    "if True:\n\ttabbed = 1\ntabbed",
    "a = 1\r\nb = 2\r\na + b",
    ">>> 1 + 1",
    "In [1]: 2 + 2",
    "from __future__ import annotations\ndef q(a: nowhere): return 1\nq.__annotations__",
    "x = 1\nfrom __future__ import annotations\nx",
    "import math as m\nm.pi",
    "from math import *\ntau",
    "del_me = 1\ndel del_me\n'del_me' in globals()",
    "global gg\ngg = 3\ngg",
    "globals()['made'] = 7\nmade",
    "long = 0\n" + "long += 1\n" * 300 + "long",
    "!echo shell",
    "out = !echo one two\nout",
    "%precision 3\n1/3",
    "%pwd",
    "here = %pwd\nhere == os.getcwd()",
    "get_ipython().run_line_magic('pwd', '')",
    "get_ipython().run_cell('6 * 7').result",
    "%%time\n1 + 1",
    "%%time\n1 / 0",
    "%%timeit -n1 -r1\npass",
    "%%capture grabbed\nprint('grabbed')\n8",
    "grabbed.stdout, [str(one) for one in grabbed.outputs]",
    "%%bash\necho from bash",
    "%%no_such_magic\n1",
    "await asyncio.sleep(0)",
    "await asyncio.sleep(0, 'slept')",
    "await asyncio.sleep(0, 'slept');",
    "r = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))\nr",
    "async def co():\n    return 9\nawait co()",
    "async with asyncio.timeout(5):\n    w = 1\nw",
    "async def agen():\n    yield 1\n[v async for v in agen()]",
    "async for v in agen():\n    print(v)",
    "await asyncio.sleep(0)\n1 / 0",
    "asyncio.current_task() is None or asyncio.get_running_loop().is_running()",
    "%autoawait False",
    "await asyncio.sleep(0)",
    "%autoawait asyncio",
    "await asyncio.sleep(0, 'again')",
    "get_ipython().ast_node_interactivity = 'all'",
    "1\nx = 2\nx\nprint('between')\nfor n in range(2): n\nx + 1",
    "1\nawait asyncio.sleep(0, 'all')\n2",
    "get_ipython().ast_node_interactivity = 'last'",
    "for n in range(3):\n    n",
    "get_ipython().ast_node_interactivity = 'last_expr_or_assign'",
    "assigned = 7",
    "assigned += 1",
    "assigned, other = 1, 2",
    "get_ipython().ast_node_interactivity = 'none'",
    "8",
    "get_ipython().ast_node_interactivity = 'last_expr'",
    "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\n3",
    "spot = display('one', display_id='spot')\nspot.update('two')",
    "spot.update('three')",
    "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('stays')",
    "class R:\n    def _repr_html_(self): return '<i>r</i>'\n    def __repr__(self): return 'r'\nR()",
    "class Bad:\n    def __repr__(self): raise ValueError('no repr')\nBad()",
    "import warnings\nwarnings.warn('careful')",
    "import logging\nlogging.getLogger('cell').warning('logged')",
    "match 5:\n    case 5:\n        hit = True\nhit",
    "with open(os.devnull) as nothing:\n    nothing.read()",
    "x = 1\n\n\n",
    "  1 + 2",
    "_",
    "_ + 1",
    "sorted(Out)[:3], Out[max(Out)], _ih is In, len(In) == get_ipython().execution_count + 1",
    "%history 1",
    "type(__builtins__).__name__",
    "import threading\n_thread = threading.Thread(target=print, args=('from a thread',))\n_thread.start()\n_thread.join()",
    "import subprocess\nsubprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True).stdout",
    "_child = os.fork()\nif not _child:\n    os._exit(3)\nos.waitstatus_to_exitcode(os.waitpid(_child, 0)[1])",
    "posts = []\ndef count(*_): posts.append(1)\nget_ipython().events.register('post_run_cell', count)",
    "len(posts)",
    "len(posts)",
    "get_ipython().events.unregister('post_run_cell', count)",
    "input('name? ')",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1))\nplt.plot([1, 2])",
    "plt.figure(figsize=(1, 1))\nplt.plot([2, 1])\nplt.show()\n'after the picture'",
    "plt.figure(figsize=(1, 1))\n1 / 0",
    "from IPython.display import Image\nimport base64\nImage(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='))",
    "def deep(n):\n    return n if n == 0 else deep(n - 1)\ndeep(50)",
    "def late():\n    return 1 / nothing_yet\nnothing_yet = 0",
    "late()",
    "__name__",
    "sorted(k for k in globals() if k.startswith('__') and k != '__annotations__')",
]
#: Cells whose effect is that of the front end as well: what is displayed, changed later, cleared, asked for or drawn.
IN_FRONT = CORPUS[CORPUS.index("from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\n3") :]
#: What is typed where a cell asks for it.
TYPED = "somebody"


def cells(magic, sources=CORPUS):
    """A whole notebook: a set-up, the cells with or without the magic, and what they left in the namespace."""
    return [SETUP, HIDE, *((MAGIC + source if magic else source) for source in sources), NAMES]


def is_answer(output):
    return "qp-pulse" in output.get("data", {}).get("text/html", "")


def outputs(cell):
    """What a reader of the notebook would see, without what differs from run to run."""
    seen = []
    for output in cell.outputs:
        kind = output.output_type
        if kind == "error":
            trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
            seen.append((kind, output.ename, output.evalue, lines_of_cells(trace)))
        elif kind == "stream":
            # How a stream is cut into messages depends on time.
            before = seen.pop()[2] if seen and seen[-1][:2] == (kind, output.name) else ""
            seen.append((kind, output.name, settled(before + output.text)))
        else:
            seen.append((kind, settled(str(dict(output.data)))))
    return seen


def lines_of_cells(trace):
    """(cell, line) of each frame of a traceback that is in a cell, as the user sees them."""
    return tuple((int(cell), int(line)) for cell, line in re.findall(r"Cell In ?\[(\d+)\], line (\d+)", trace))


def settled(text):
    """Without addresses, file names that are made up, and times."""
    text = re.sub(r"0x[0-9a-f]+|<ipython-input-\S+>:?\d*|/tmp/ipykernel_\S+", "X", text)
    text = re.sub(r"(CPU times|Wall time): .*", r"\1", text)
    return re.sub(r"\d.* per loop .*", "per loop", text)


def differences(plain, timed, sources=CORPUS):
    """Cells that behave differently under the magic: (source, rows without it, rows with it, number of answers).

    `plain` and `timed`: for each cell of `cells(…, sources)` the rows of `outputs`; those of `timed` without the answers, with
    their number: (rows, answers).
    """
    assert len(sources) >= 30
    found = []
    for source, expected, (seen, answers) in zip(cells(False, sources)[2:], plain[2:], timed[2:], strict=True):
        is_timed = source != NAMES
        one, other = [comparable(row, False) for row in expected], [comparable(row, is_timed) for row in seen]
        # What cannot be compiled does not run, so there is nothing to answer.
        has_run = not any(map(is_malformed, expected)) or len(expected) > 1
        wanted = 1 if is_timed and has_run else 0
        if one != other or answers != wanted:
            found.append((source, one, other, answers))
    return found


def is_malformed(row):
    kind = getattr(builtins, row[1], None) if row[0] == "error" else None
    return kind is not None and issubclass(kind, SyntaxError)


def comparable(row, is_timed):
    """Without the magic the lines are one up; under it there are frames of its own line, the first."""
    if row[0] != "error":
        return row
    kind, name, message, places = row
    if is_malformed(row):
        return kind, name
    return kind, name, message, tuple((cell, line - 1) for cell, line in places if line > 1) if is_timed else places
