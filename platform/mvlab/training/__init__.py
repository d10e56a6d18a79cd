"""Training: the step (optimizer, ema, loop, state), what a rank runs (worker), and how ranks start (trainer)."""
