"""A model's answers of notebook 04, by workers on several machines."""
