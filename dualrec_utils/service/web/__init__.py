"""The recommender in a browser: API and page."""
