"""Import traces of other tools as captures: formats, the sort by time, the nesting, and the parts that are written."""
