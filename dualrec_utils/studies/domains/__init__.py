"""Does what films taught carry to music, games and a shop? Notebook 13."""
