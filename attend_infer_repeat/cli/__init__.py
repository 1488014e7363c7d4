"""The command ``air``."""
