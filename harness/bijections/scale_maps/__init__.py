"""Scale maps g(h) > 0 of affine couplings, and the range that decides what can explode.

An affine coupling multiplies by ``g(h)`` and its inverse divides by it: where ``inf g = 0``, no
architecture bounds the inverse. A map is a row of a table, not a branch in the coupling.
"""

from harness.bijections.scale_maps.base import ScaleMap

__all__ = ["ScaleMap"]
