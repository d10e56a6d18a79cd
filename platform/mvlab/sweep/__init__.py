"""Many runs on one cluster: Ray Tune over Ray Train."""
