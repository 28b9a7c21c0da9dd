"""Small real programs in which a known cause makes some requests slow, and some in which nothing does.

They measure what they plant, on the thread that it holds up, into a file beside the capture. `tests.corpus.judging`
holds what `Capture.why` says against it; ``python -m tests.perf why`` prints the table.
"""
