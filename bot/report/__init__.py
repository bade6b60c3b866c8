"""What a run was worth: metrics and a page to read, drawn from the run directory's data."""
