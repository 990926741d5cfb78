"""Building blocks: forward, inverse, log-det and bi-Lipschitz bounds, one idea a file."""
