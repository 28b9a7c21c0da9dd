"""Decide what is worth saying of a capture: verdict, culprits, budgets, open calls, and the sections of a report."""
