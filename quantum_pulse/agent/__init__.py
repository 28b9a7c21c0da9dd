"""The process beside the recorded program: what it does with a capture."""
