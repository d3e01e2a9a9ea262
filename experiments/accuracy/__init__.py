"""Errors on public benchmark sets, beside published ones."""
