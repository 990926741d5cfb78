"""Couplings, and the networks that condition them."""
