"""The application in the notebook: from all operations to one, to a stretch of time, to a single call.

`places` says where one is, `looking` asks the capture what is to be seen there, `pages` makes a page of it with the
pieces of `view`, and `widget` is what a notebook shows: it takes the pages to the browser and the steps back.
"""
