"""Linear and diagonal maps over channels."""
