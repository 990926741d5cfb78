"""innbench: is this invertible neural network still invertible, and what keeps it so?"""

__version__ = "0.1.0"
