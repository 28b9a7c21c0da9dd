"""Links that somebody put into a capture: whoever reads, recovers or records, nothing outside of it is changed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from quantum_pulse import directories, schema
from quantum_pulse.agent.recover import recover
from quantum_pulse.rings import places
from tests.faults import hostile

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

in_memory = []


@pytest.fixture
def world():
    """A folder that everybody can enter, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="quantum-pulse-links-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
    for memory in in_memory:
        shutil.rmtree(memory, ignore_errors=True)
    in_memory.clear()


def killed_by(user, path):
    """A capture with rings of a process that was killed, of `user`; the names of its recording."""
    hostile.record_and_be_killed(path, user)
    (ring,) = places.rings_of(path)
    in_memory.append(ring.resolve().parent)
    return ring


def secret_of_root(path):
    path.write_text("secret")
    path.chmod(0o600)
    return path


def plant(user, *commands):
    """Run `commands` as `user`, who may do all this."""
    own = {"user": user, "group": user, "extra_groups": []} if user != os.geteuid() else {}
    subprocess.run(["sh", "-ec", "\n".join(commands)], check=True, **own)


@as_root
def test_recovering_as_the_owner(world):
    ring = killed_by(NOBODY, world / "capture")
    (found,) = recover(world / "capture")
    assert (found.samples, found.lost) == (100, 0)
    assert not ring.exists()
    assert os.geteuid() == 0
    assert {path.stat().st_uid for path in (world / "capture").rglob("*")} == {NOBODY}


@as_root
@pytest.mark.parametrize("folder", ["samples", "events", schema.PROCESSES])
def test_a_link_instead_of_a_folder(world, folder):
    capture, victim = world / "capture", world / "victim"
    killed_by(NOBODY, capture)
    victim.mkdir()
    (victim / ".important.tmp").touch()
    plant(NOBODY, f"mv {capture}/{folder} {capture}/away", f"ln -s {victim} {capture}/{folder}")
    try:
        recover(capture)
    except OSError:
        assert folder != "events"
    assert [path.name for path in victim.iterdir()] == [".important.tmp"]


@as_root
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_link_instead_of_the_rings(world, is_whole):
    capture, victim = world / "capture", world / "victim"
    ring = killed_by(NOBODY, capture)
    victim.mkdir()
    for name in (".important.tmp", "1234-abcd.ring", "1234-abcd.names"):
        (victim / name).touch()
    link = capture / "rings" if is_whole else ring.parent
    plant(NOBODY, f"rm -r {link}", f"ln -s {victim} {link}")
    try:
        assert recover(capture) == []
    except OSError:
        assert is_whole
    assert len(list(victim.iterdir())) == 3


@as_root
def test_a_link_to_the_rings_of_another_user(world):
    ring_of_root = killed_by(0, world / "of-root").resolve()
    own = killed_by(NOBODY, world / "capture")
    link = own.parent
    plant(NOBODY, f"rm {link}", f"ln -s {ring_of_root.parent} {link}")
    assert [one.name for one in recover(world / "capture")] in ([], [own.stem])
    assert ring_of_root.exists()
    assert [one.samples for one in recover(world / "of-root")] == [100]


@as_root
def test_links_with_the_names_that_files_had_before_they_were_whole(world):
    capture, victim = world / "capture", secret_of_root(world / "victim")
    name = killed_by(NOBODY, capture).stem
    planted = [f"samples/.{name}-000001.parquet.tmp", *(f"processes/.{name}.json.{pid}.tmp" for pid in range(9))]
    plant(NOBODY, *(f"ln -s {victim} {capture}/{one}" for one in planted))
    assert [one.samples for one in recover(capture)] == [100]
    assert victim.read_text() == "secret"
    assert victim.stat().st_uid == 0


def test_nobody_else_follows_links_either(world):
    """The same where the capture is one's own, and others may write there as well."""
    capture, victim = world / "capture", world / "victim"
    killed_by(os.geteuid(), capture)
    victim.mkdir()
    (victim / ".important.tmp").touch()
    (capture / "samples").rename(world / "away")
    (capture / "samples").symlink_to(victim)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        recover(capture)
    assert [path.name for path in victim.iterdir()] == [".important.tmp"]
    (capture / "samples").unlink()
    (world / "away").rename(capture / "samples")
    assert [one.samples for one in recover(capture)] == [100]


def test_a_report_goes_through_no_link_of_another(tmp_path, monkeypatch):
    from quantum_pulse import files

    victim = tmp_path / "victim"
    victim.write_text("secret")
    (tmp_path / f".report.html.{os.getpid()}").symlink_to(victim)
    with files.replacing(tmp_path / "report.html") as file:
        file.write(b"report")
    assert victim.read_text() == "secret"
    assert (tmp_path / "report.html").read_text() == "report"


def test_a_file_is_whole_or_not_there(tmp_path):
    with directories.Folder.at(tmp_path) as folder:
        folder.write("file", lambda file: file.write(b"first"))
        with pytest.raises(ZeroDivisionError):
            folder.write("file", lambda file: file.write(b"second" * (1 // 0)))
        folder.write("file", lambda file: file.write(b"third"), durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "third"
