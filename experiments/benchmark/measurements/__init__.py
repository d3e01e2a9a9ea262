"""What is to be measured, and what was."""
