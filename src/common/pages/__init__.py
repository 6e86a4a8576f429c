"""What the pages show: plots, widgets, visible checks, and the results the book was published with."""
