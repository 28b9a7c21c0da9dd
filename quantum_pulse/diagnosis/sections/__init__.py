"""The sections of a report, a module each. `SECTION` says what it is called, where it comes, and what is in it."""
