"""Programs that record, in processes of their own."""

import os
import subprocess
import sys

HEAD = """
import atexit, multiprocessing, os, signal, subprocess, sys, threading, time
import quantum_pulse as qp

class Step(qp.Operation):
    A = qp.op("First")
    B = qp.op("Second")

def work(count, operation=Step.A):
    for _ in range(count):
        with operation:
            pass

path = sys.argv[1]
"""


def write(tmp_path, body, name="script.py", head=HEAD):
    script = tmp_path / name
    script.write_text(head + body, encoding="utf-8")
    return script


def command(script, *args):
    # Where the native core was not built, that is said once, and is tested elsewhere.
    silent = ["-W", "error", "-W", "ignore:quantum_pulse records with its Python core"]
    return [sys.executable, *silent, str(script), *map(os.fsencode, args)]


def run(tmp_path, body, *args, **options):
    """Run a script that gets the path of the capture as its first argument."""
    line = command(write(tmp_path, body), tmp_path / "capture", *args)
    return subprocess.run(line, **{"capture_output": True, "check": False, "timeout": 60, **options})


def start(tmp_path, body, *args, name="script.py", **options):
    """Begin to run it; it is talked to through pipes."""
    line = command(write(tmp_path, body, name), tmp_path / "capture", *args)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, **{**pipes, **options})


def answer(process, line=""):
    """Send it a line, and return the next that it prints."""
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()
