"""What inference reads and writes, and checkpoints."""
