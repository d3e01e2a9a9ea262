"""What errors on test frames do not tell: dynamics that stays together, barriers, bonds pulled apart and pushed together."""
