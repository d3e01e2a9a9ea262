"""One folder, or module, for each claim: a command, its numbers and its pictures."""
