"""Generated data sets, with their truth."""
