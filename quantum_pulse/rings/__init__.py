"""Ring buffers in shared memory: their files, and both ways to read them.

The program's side is the core's. The agent maps a ring and takes rows out of it (`ring`). Everybody else reads it as it
is, of a running process or of one that was killed (`contents`), and trusts nothing in it: it may have been cut,
zeroed or overwritten since. The layout is `schema`'s. `places` says where rings are.

Nothing is imported here, because a recording program needs a part of it only.
"""
