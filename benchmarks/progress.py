"""What is said while it runs: on stderr, so that the table stands alone on stdout."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
