"""Inverses: of the flows that were trained, and of residual blocks."""
