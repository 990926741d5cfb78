"""Training: packs of 1, 4, 16 and 64 members against what else trains the same flow."""
