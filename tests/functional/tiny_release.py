"""A published release of the tiny models, indexed by the build's own functions, so that it can be changed."""

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from build.release.index import write_index, write_pieces, write_store
from build.release.publish import PRODUCT_ENCODER, publish
from shelfbridge.catalogue import Catalogue
from tests.functional import tiny


def publish_tiny(folder: Path, releases: Path | None = None, *, backwards: bool = False, **more: Any) -> Path:
    """Publish `tiny.catalogue()` in `folder/releases`, or in another folder of releases.

    Args:
        backwards: whether the last product has the first row.
        more: as `publish` takes it.

    Returns:
        Folder of the release.
    """
    stages, catalogue = folder / "stages", Catalogue(tuple(tiny.catalogue())[:: -1 if backwards else 1])
    parts = tiny.write_parts(stages)
    for model in ("retrieve", "shortlist", "postprocess"):
        shutil.rmtree(parts[model])
    words, graph = parts["preprocess"], parts["encoder"]
    write_index(
        parts["retrieve"],
        catalogue=catalogue,
        queries=[],
        tokenizer=words,
        graph=graph,
        where="faiss",
        console=Console(quiet=True),
    )
    write_pieces(parts["shortlist"], catalogue=catalogue, tokenizer=words)
    write_store(parts["postprocess"], catalogue=catalogue)
    extra = {PRODUCT_ENCODER: graph / "model.onnx"}
    return publish(releases or folder / "releases", parts=parts, about={}, extra=extra, **more)
