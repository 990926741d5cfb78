"""Recipes of blocks, one a file."""
