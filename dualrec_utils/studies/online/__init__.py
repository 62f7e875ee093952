"""What it is worth to keep up with events, and what it costs: notebook 14."""
