"""Dipoles, polarizabilities and energies in fields, trained with energies and forces."""
