"""Gradients by a network's parameters: how they are made, and how far two of them are apart."""
