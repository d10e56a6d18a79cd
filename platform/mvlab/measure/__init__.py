"""Cost of a network: parameters, multiply-adds, latency, memory."""
