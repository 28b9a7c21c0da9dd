"""Results of analyses as they show themselves: as text, as Markdown and in a notebook. `view` has the forms."""
