"""Results, averaged and ranked; it reads nothing but results."""
