"""Processes that do as they are asked, to be observed from outside."""

import json
import subprocess
import sys

_PROGRAM = """
import json, mmap, os, resource, sys, threading, time

def burn(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass

def start(count, target, *arguments):
    threads = [threading.Thread(target=target, args=arguments, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads

def join(threads):
    for thread in threads:
        thread.join()

def usage():
    found = resource.getrusage(resource.RUSAGE_SELF)
    return {name: getattr(found, name) for name in dir(found) if name.startswith("ru_")}

for line in sys.stdin:
    result = None
    exec(json.loads(line))
    print(json.dumps(result), flush=True)
"""


class Child:
    """A process that executes what `run` names: Python, which may set `result`."""

    def __init__(self, **options):
        command = [sys.executable, "-S", "-c", _PROGRAM]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        self.pid = self.process.pid
        self.run("pass")  # it is up

    def send(self, code):
        """Have `code` executed, and go on meanwhile."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self):
        """Wait until what was sent is done; what it set as `result`."""
        return json.loads(self.process.stdout.readline())

    def run(self, code):
        self.send(code)
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
