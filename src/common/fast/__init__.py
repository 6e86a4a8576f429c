"""The same numbers sooner: models side by side, compiled, and what a step costs."""
