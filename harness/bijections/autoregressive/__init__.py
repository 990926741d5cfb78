"""Autoregressive blocks, and the masked and causal networks within them."""
