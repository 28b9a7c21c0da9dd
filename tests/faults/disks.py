"""Small file systems that can be full."""

import contextlib
import os
import subprocess

import pytest

MEGABYTE = 2**20

#: Type -> megabytes: none takes less.
SIZES = {"tmpfs": 24, "ext4": 32, "xfs": 300, "btrfs": 128}


@contextlib.contextmanager
def mounted(kind, folder, megabytes=None):
    """A file system of that type, in files beside `folder`."""
    folder.mkdir()
    size = (megabytes or SIZES[kind]) * MEGABYTE
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    else:
        image = folder.with_name(f"{folder.name}.image")
        with open(image, "wb") as file:
            file.truncate(size)
        _run(f"mkfs.{kind}", "-q", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here")
    if done.returncode != 0:
        pytest.skip(f"{command[0]} is not possible here, as for anybody but root: {done.stderr.strip()}")


def fill(folder):
    """Leave no room. Returns the files that take it."""
    fillers = []
    for number in range(3):  # what is synchronised may give room for some more
        filler = folder / f"filler{number}"
        fillers.append(filler)
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            size = MEGABYTE
            while size >= 512:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2
        os.sync()
    return fillers


def make_room(folder, fillers):
    """Take the files away again."""
    for filler in fillers:
        filler.unlink(missing_ok=True)
    subprocess.run(["sync", "-f", str(folder)], check=True)
