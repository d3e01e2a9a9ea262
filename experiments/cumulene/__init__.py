"""Cumulene energies and forces from density-functional theory."""
