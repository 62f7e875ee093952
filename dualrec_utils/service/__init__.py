"""The recommender as a program: `dualrec preprocess`, `train`, `evaluate`, `recommend`."""
