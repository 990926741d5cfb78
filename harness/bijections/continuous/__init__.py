"""Flows of differential equations, by solvers."""
