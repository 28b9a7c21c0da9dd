"""Forks while recording: the child lets go."""

import os
import threading

import pytest

from tests.core.rig import in_thread, nested, stepping


def test_a_fork_while_recording(rig):
    """The child lets go, as the recorder makes it do, and its probes disturb nobody."""
    with rig.probe(1):
        with rig.probe(2):
            pass
        child = os.fork()
        if child == 0:
            code = 1
            try:
                rig.core.forget()
                with rig.probe(3):
                    rig.core.timed(rig.probe(4), len)([])
                list(stepping(rig, 5))
                in_thread(lambda: nested(rig, 6))
                rig.start()
                nested(rig, 7)
                code = 0 if [row.operation for row in rig.drain()] == [7] else 2
                rig.close()
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with rig.probe(1):
        pass
    assert [row.operation for row in rig.drain()] == [2, 1, 1]
    assert rig.totals() == (3, 3, 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_while_other_threads_record(rig):
    stopping = threading.Event()

    def work():
        while not stopping.wait(0.0002):
            nested(rig, 1, 2)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    rig.core.forget()
                    nested(rig, 3, 4)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            rig.drain()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    rig.drain()
    started, committed, lost = rig.totals()
    assert started == committed + lost
    assert committed == len(rig.rows)
    assert {row.operation for row in rig.rows} == {1, 2}
