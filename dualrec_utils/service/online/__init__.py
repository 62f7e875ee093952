"""Online updates: the log of events, the LSTM's state of each user, and small steps of learning."""
