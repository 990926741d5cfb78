"""How many cells are trained at once: memory measured, memory there is, memory that ran out."""
