"""A base model's tokenizer as one file, the same for training, for the index and for the server."""

import json
from pathlib import Path

from transformers import AutoTokenizer

from build.models import base_folder
from build.settings import Settings
from shelfbridge.errors import ArtefactError


def write_tokenizer(folder: Path, *, settings: Settings) -> None:
    """Write the encoder's `tokenizer.json`, having seen that the cross-encoder's is the same.

    Raises:
        ArtefactError: a base model has no fast tokenizer, or none that can be reached, or the two differ.
    """
    save(settings.base, folder / "tokenizer.json")
    if settings.teacher:
        other = folder / "teacher.json"
        save(settings.teacher, other)
        if manner(other) != manner(folder / "tokenizer.json"):
            raise ArtefactError(
                f"{settings.teacher!r} and {settings.base!r} cut words differently; "
                "choose two bases with one vocabulary"
            )
        other.unlink()


def manner(path: Path) -> list[object]:
    """How a tokenizer file cuts text: its vocabulary, and what it does before and after."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [content.get(part) for part in ("model", "normalizer", "pre_tokenizer", "post_processor")]


def save(base: str, path: Path) -> None:
    """Write a base model's tokenizer."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_folder(base), use_fast=True)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"tokenizer of {base!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    if not tokenizer.is_fast:
        raise ArtefactError(f"{base!r} has no fast tokenizer; choose a base model with a tokenizer.json")
    tokenizer.backend_tokenizer.save(str(path))
