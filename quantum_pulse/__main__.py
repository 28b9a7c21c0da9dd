"""``python -m quantum_pulse``."""

import sys

from quantum_pulse.cli import main

sys.exit(main())
