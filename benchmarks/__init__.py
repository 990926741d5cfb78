"""What speed costs: `make bench`. Interleaved rounds, medians, ratios."""
