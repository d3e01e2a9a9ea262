"""Models of many packages on the same graphs, loss, loop, budget and machine."""
