"""Molecular dynamics and relaxation in ASE, for those who want no script."""
