"""``python -m tests.corpus PROGRAM CAPTURE`` records one program of the corpus; without arguments it lists them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import quantum_pulse as qp
from tests.corpus.registry import programs
from tests.corpus.running import IMPOSSIBLE, ImpossibleError, Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("program", nargs="?")
    parser.add_argument("capture", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    known = programs()
    if chosen.program is None or chosen.capture is None:
        for name, one in known.items():
            print(f"{name}: {'; '.join(map(str, one.causes)) or 'no cause'}")
        return 0
    if chosen.program not in known:
        parser.error(f"no program {chosen.program!r}; there are {', '.join(known)}")
    run = Run(chosen.seed, chosen.seconds, chosen.capture)
    try:
        with known[chosen.program].around(), qp.record(chosen.capture, if_exists="replace"):
            known[chosen.program].function(run)
    except ImpossibleError as error:
        print(error, file=sys.stderr)
        return IMPOSSIBLE
    finally:
        run.close()
    run.truth.write(chosen.capture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
