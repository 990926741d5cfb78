"""Where work runs: Ray, or this process; what the work is stays unknown here."""
