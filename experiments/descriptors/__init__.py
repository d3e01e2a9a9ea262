"""A descriptor from somewhere else."""
