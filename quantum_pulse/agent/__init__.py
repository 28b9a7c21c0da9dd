"""The process beside the recorded ones: it observes them from outside and writes what they record."""
