"""Recording: the life of a capture while a program runs. Standard library and the core only; see `session`."""
