"""When does what a language model has read help? Notebook 10."""
