"""Attention of a reversible transformer, and its bounds."""
