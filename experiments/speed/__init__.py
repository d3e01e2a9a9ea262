"""How fast the package is: against the machine's floor, against its own plain path, against other packages."""
