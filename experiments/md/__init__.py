"""Potentials at work in simulation engines: speed, agreement, physics."""
