"""What a worker can be asked for; each task takes a peer and plain values, and gives plain values."""
