"""Networks of other libraries, and one's own modules, as bijections: one library a file."""
