"""What cells leave behind: written whole or not at all, read in SQL."""
