"""What shows: plots, widgets, visible checks and stored results."""
