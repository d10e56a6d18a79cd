"""How sure the numbers are: spreads over seeds, and what they say of a claim."""
