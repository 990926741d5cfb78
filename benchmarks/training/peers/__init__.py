"""The same flow in other libraries, each as its own documentation builds and trains one.

Eight affine couplings that alternate the kept half, SiLU conditioners of two hidden layers,
``sigmoid(h + 2)`` as the scale where the library has it or takes it, ActNorm where it has it. Where
a library can say the same in two ways, the faster one was taken. What differs from the flow by
hand is said in each file, and the numbers of parameters stand in the results.

The splines have the same bins, bound and floors. zuko has one floor, of its soft clip, and no
library starts its slopes at 1.
"""

from benchmarks.training.contender import Network, Size
from benchmarks.training.peers import freia, nflows, normflows, zuko

PEERS = {"affine": (zuko, normflows, nflows, freia), "spline": (nflows, normflows, zuko)}
"""FrEIA 0.2 has no splines."""


def networks(size: Size) -> list[Network]:
    return [peer.network(size.width, size.flow) for peer in PEERS[size.flow]]
