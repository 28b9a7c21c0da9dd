"""What stands in the rings of a process: of one that was killed, or of one that goes on. Reading only.

The layout is `schema`'s. Nothing in a ring is trusted: it may have been cut, zeroed or overwritten since.
"""

from quantum_pulse.rings.contents import Contents, read, read_open, selected
from quantum_pulse.rings.names import Names, read_names
from quantum_pulse.rings.owners import claimed, is_alive, is_unused, process_of

__all__ = [
    "Contents",
    "Names",
    "claimed",
    "is_alive",
    "is_unused",
    "process_of",
    "read",
    "read_names",
    "read_open",
    "selected",
]
