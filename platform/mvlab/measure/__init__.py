"""What a network costs: parameters, multiply-adds, time."""
