"""Reading captures: parts to tables. Knows nothing of the recorder."""
