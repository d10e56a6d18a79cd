"""Duration and updates of a study, known before it starts."""
