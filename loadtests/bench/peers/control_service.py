"""The control: our own index and networks, in one process of plain FastAPI instead of Triton.

What it does better or worse than `search` is what serving costs or gains; what both do better than the peers is the
pipeline. It runs in Shelfbridge's own Python and takes FastAPI alone from an environment beside it (`--packages`).

Tuning: one worker reads one search at a time, with all cores in its networks.
"""

import argparse
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--shop", type=Path, required=True, help="its products.json names the ids")
    parser.add_argument("--packages", type=Path, required=True, help="folder of the packages that hold FastAPI")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    sys.path.append(str(options.packages))  # behind our own, which come first where both have one

    import uvicorn
    from fastapi import Body, FastAPI

    from build.evaluation.offline import session
    from build.release.publish import open_release, read_manifest

    number = str(read_manifest(options.release)["release"])
    opened = open_release(options.release)
    ensembles = replace(opened, ranker=session(options.release / "ranker" / number / "model.onnx", threads=0))
    ids = json.loads((options.shop / "products.json").read_text())["ids"]
    ensembles.ranked("warm up")
    turn = threading.Lock()
    app = FastAPI()

    @app.post("/search")
    def search(query: str = Body(), k: int = Body()) -> list[str]:
        with turn:
            rows, _ = ensembles.ranked(query)
        return [ids[row] for row in rows[:k]]

    @app.get("/health")
    def health() -> str:
        return "ready"

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(Path(__file__).parents[3]))
    main()
