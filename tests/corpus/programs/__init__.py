"""Programs with a planted cause of slow calls, by where it is; see `tests.corpus.registry.program`."""
