"""Render results as text, Markdown and HTML. Values are rounded here, and calculated elsewhere."""
