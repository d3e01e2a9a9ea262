"""Energies that depend on atoms which no atom sees together: what messages reach, and what they cannot."""
