"""Elementwise transformers of couplings and autoregressive blocks."""
