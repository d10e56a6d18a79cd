"""Resolution of what was asked for, before anything is started."""
