"""The same flow in other libraries, each as its own documentation builds and trains one.

Eight affine couplings that alternate the kept half, SiLU conditioners of two hidden layers,
``sigmoid(h + 2)`` as the scale where the library has it or takes it, ActNorm where it has it. Where
a library can say the same in two ways, the faster one was taken. What differs from the flow by
hand is said in each file, and the numbers of parameters stand in the results.
"""

from benchmarks.training.contender import Network
from benchmarks.training.peers import freia, nflows, normflows, zuko

PEERS = (zuko, normflows, nflows, freia)


def networks(width: int) -> list[Network]:
    return [peer.network(width) for peer in PEERS]
