"""Plots, animations and the report."""
