"""Read captures: from parts to tables. Independent of the recorder."""
