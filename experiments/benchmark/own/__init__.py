"""MACE and NequIP in their own training programs, over the same time: whether our loop does them wrong."""
