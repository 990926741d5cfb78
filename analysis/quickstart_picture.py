"""Draw a suite's leaderboard as the picture that the README shows.

``python analysis/quickstart_picture.py STORE docs/quickstart.svg`` after ``innbench quickstart``.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.leaderboard.board import leaderboard
from harness.leaderboard.render import render

WIDTH = 108


def main(store: Path, picture: Path) -> None:
    """Write the table of the quickstart's board, without its footnotes, as an SVG."""
    table = render(leaderboard(store, "quickstart"), "table", WIDTH).split("\n- ")[0]
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(table.rstrip()))
    svg = console.export_svg(title="innbench quickstart")
    # The reader's own monospace font: a picture should fetch nothing.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    picture.write_text(re.sub(r"Fira Code,\s*", "", svg))


main(Path(sys.argv[1]), Path(sys.argv[2]))
