"""Gradients whose activations are rebuilt by the inverse rather than kept."""
