"""Layers in other networks, other networks in the potential."""
