"""Training: the loop, the run's folder, devices, averaging, and settings chosen from pictures."""
