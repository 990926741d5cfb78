"""Gradients: by the weights, how they are made and how far two are apart; by the input."""
