"""Backpropagation without the memory of activations."""
