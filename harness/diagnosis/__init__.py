"""``innbench diagnose``: the probes on one network of anybody's, and what they say of it."""
