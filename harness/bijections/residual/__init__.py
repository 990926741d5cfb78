"""Residual blocks: certified networks, log-determinants, inverses by iteration; and momentum."""
