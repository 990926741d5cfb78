"""How steep softmax attention is in its queries, keys and values, where these are bounded.

``f_i = Σ_j P_ij v_j`` with ``P_i = softmax_j(q_i · k_j / √s)`` for T tokens. Its differential is

``df_i = Σ_j P_ij dv_j + Σ_j P_ij (v_j - v̄_i) (k_j - k̄_i)ᵀ dq_i / √s
+ Σ_j P_ij (v_j - v̄_i) q_iᵀ dk_j / √s``, with ``v̄_i = Σ_j P_ij v_j`` and k̄ likewise.

Without limits on k and q it has no Lipschitz constant (Kim et al. 2021, arXiv 2006.04710).
"""

import math
from typing import NamedTuple


class Slopes(NamedTuple):
    """Bounds of the norms of the three parts of the Jacobian, of all tokens by all tokens."""

    queries: float
    keys: float
    values: float


def attention_slopes(
    tokens: int, size: int, longest_query: float, radius_of_keys: float, radius_of_values: float
) -> Slopes:
    """Bounds where keys and values lie in balls, with any centres, and queries are not longer.

    The variance of what lies in a ball, about its mean, is at most the radius squared: so the
    covariance of values and keys, by which a query enters, has a norm of at most ``r_v r_k``. By
    Cauchy-Schwarz ``‖Σ_j P_ij (v_j - v̄_i) q_iᵀdk_j‖² ≤ r_v² ‖q_i‖² Σ_j P_ij ‖dk_j‖²``, and a
    column of P adds up to at most T, which is also why its norm is at most √T.

    Args:
        tokens: T.
        size: s, of a query and of a key.
        longest_query: A bound of ``‖q_i‖``.
        radius_of_keys: r_k.
        radius_of_values: r_v.
    """
    scale, columns = math.sqrt(size), math.sqrt(tokens)
    return Slopes(
        queries=radius_of_values * radius_of_keys / scale,
        keys=columns * radius_of_values * longest_query / scale,
        values=columns,
    )
