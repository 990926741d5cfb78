"""Data, and inputs off its distribution."""
