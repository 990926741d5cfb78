"""How the networks of a pack are measured: side by side, and as one where that pays."""
