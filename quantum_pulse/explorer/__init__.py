"""An interactive explorer for notebooks: from all operations to one, to a time interval, to a single call.

`places` represents a position in a capture, `model` reads the data for it, `pages` renders it with the building blocks
of `view`, and `widget` connects the pages to the browser.
"""
