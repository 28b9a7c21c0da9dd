"""The export formats, a module each. `EXPORTER` says what it is called, what it is good for, and how it is written."""
