"""A program worth measuring: an order-handling engine with threads, tasks, sockets, numpy and a database.

`operations` names what is measured, `engine.run` does the work. ``quantum-pulse demo`` records it.
"""
