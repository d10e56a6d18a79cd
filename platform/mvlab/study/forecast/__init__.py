"""Time and updates that a study takes, known before it starts."""
