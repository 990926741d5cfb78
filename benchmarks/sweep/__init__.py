"""A whole sweep: ``innbench run`` against a process a cell and against Ray Tune."""
