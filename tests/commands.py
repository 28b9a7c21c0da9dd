"""The command line, called in this process: an interpreter of its own takes a second to read a capture."""

import contextlib
import io
import subprocess

from quantum_pulse import cli


def run(*arguments):
    """What ``quantum-pulse ARGUMENTS`` does, says and returns, as `subprocess.run` tells it."""
    command = [str(one) for one in arguments]
    said, complaints = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
        code = cli.main(command)
    outputs = [one.buffer.getvalue().decode() for one in (said, complaints)]
    return subprocess.CompletedProcess(command, code, *outputs)
