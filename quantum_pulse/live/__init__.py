"""A capture while it is being written: what monitoring systems and browsers read of it."""
