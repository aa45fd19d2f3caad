"""The control: our own index and networks, in one process of plain FastAPI instead of Triton.

What it does better or worse than `search` is what serving costs or gains; what both do better than the peers is the
pipeline. It runs in Shelfbridge's own Python and takes FastAPI alone from an environment beside it (`--packages`).

Tuning: one worker reads one search at a time, with all cores in its networks.
"""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from serving import command_line, serve


def main() -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the packages that hold FastAPI")
    options = parser.parse_args()
    sys.path.append(str(options.packages))  # behind our own, which come first where both have one

    from build.evaluation.offline import session
    from build.release.publish import open_release, read_manifest

    number = str(read_manifest(options.release)["release"])
    opened = open_release(options.release)
    ensembles = replace(opened, ranker=session(options.release / "ranker" / number / "model.onnx", threads=0))
    ids = json.loads((options.shop / "products.json").read_text())["ids"]
    turn = threading.Lock()

    def search(query: str, k: int) -> list[str]:
        with turn:
            rows, _ = ensembles.ranked(query)
        return [ids[row] for row in rows[:k]]

    serve(search, options.port)


if __name__ == "__main__":
    sys.path.insert(1, os.fspath(Path(__file__).parents[3]))
    main()
