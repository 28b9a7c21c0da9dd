"""Ring buffers in shared memory: their files, and both ways to read them.

The core is the program's side. The agent maps a ring and takes rows out of it (`ring`). Everybody else reads the file,
whether its process runs or was killed (`contents`), and trusts nothing in it, because it may have been truncated,
zeroed or overwritten. `schema` defines the layout, and `places` knows where rings are.

Nothing is imported here, because a recording program needs only a part of it.
"""
