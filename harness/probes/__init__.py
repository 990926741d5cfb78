"""The stability measurements, one a file."""
