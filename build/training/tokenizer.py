"""A base model's tokenizer as one file, the same for training, for the index and for the server."""

import hashlib
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel

from build.settings import Settings
from build.training import vocabulary
from build.training.models import base_folder
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import ArtefactError


def write_tokenizer(
    folder: Path,
    *,
    settings: Settings,
    catalogue: Catalogue,
    judgments: Judgments,
) -> None:
    """Write the encoder's `tokenizer.json`, having seen that the cross-encoder's is the same, without unused pieces.

    `kept.npy` says which rows of a base model's embeddings are left: its old id of each new id, int64 [V'].

    Raises:
        ArtefactError: a base model has no fast tokenizer, or none that can be reached, or the two differ.
    """
    whole = folder / "whole.json"
    save(settings.base, whole)
    if settings.teacher:
        other = folder / "teacher.json"
        save(settings.teacher, other)
        if manner(other) != manner(whole):
            raise ArtefactError(
                f"{settings.teacher!r} and {settings.base!r} cut words differently; "
                "choose two bases with one vocabulary"
            )
        other.unlink()
    texts = [*(product.full_text for product in catalogue.products), *judgments.queries.values()]
    np.save(folder / "kept.npy", vocabulary.prune(whole, texts, folder / "tokenizer.json"))
    whole.unlink()


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


def claim(trunk: PreTrainedModel, tokenizer: Path) -> None:
    """Write into a model's config which tokenizer it reads, so that `hold` can tell another."""
    trunk.config.tokenizer_sha256 = _identity(tokenizer)


def hold(trunk: PreTrainedModel, tokenizer: Path, model: Path) -> None:
    """Refuse a model that was trained on another tokenizer than the one in a folder.

    Raises:
        ArtefactError: it was, or has another number of word pieces.
    """
    pieces = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size(with_added_tokens=True)
    claimed = getattr(trunk.config, "tokenizer_sha256", None)
    if trunk.config.vocab_size != pieces or claimed not in (None, _identity(tokenizer)):
        raise ArtefactError(
            f"{model} was trained on another tokenizer than {tokenizer}/tokenizer.json ({trunk.config.vocab_size:,} "
            f"and {pieces:,} word pieces); give it the tokenizer of its own build"
        )


def _identity(tokenizer: Path) -> str:
    parts = json.dumps(manner(tokenizer / "tokenizer.json"), sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()
