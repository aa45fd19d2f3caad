"""Drop the word pieces, and with them the embedding rows, that a shop's language never uses.

Up to nine tenths of a multilingual encoder are rows of pieces that no text of the shop is cut into. The method is that
of Abdaoui et al. (arXiv:2010.05609) and Ushio et al. (arXiv:2305.15020): the pieces with a character of a Unicode
script that the shop's texts never use go, and rows reserved for nobody. Text in the shop's scripts, and always in
Latin, is cut exactly as before.

WordPiece and Unigram tokenizers can lose pieces. A piece of BPE is a step towards others: such a tokenizer stays whole.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fontTools import unicodedata
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel

from shelfbridge.errors import ArtefactError

PRUNABLE = ("WordPiece", "Unigram")
ALWAYS = frozenset({"Zyyy", "Zinh", "Zzzz", "Latn"})
"""Latin, and the characters of all scripts or of none known: digits, punctuation, accents."""
_RESERVED = re.compile(r"[\[<]unused_?\d+[\]>]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def scripts(text: str) -> frozenset[str]:
    """Scripts of a text's characters, as ISO 15924 codes."""
    return frozenset(map(unicodedata.script, set(text)))


def prune(tokenizer: Path, texts: Iterable[str], to: Path) -> NDArray[np.int64]:
    """Write a tokenizer file without the pieces that texts like some never use; the others keep their order.

    Args:
        texts: of the shop's products and queries.

    Returns:
        kept: the old id of each new id, int64 [V'].
    """
    content, words = json.loads(tokenizer.read_text(encoding="utf-8")), Tokenizer.from_file(str(tokenizer))
    if content["model"].get("type") in PRUNABLE:
        normalised = (words.normalizer.normalize_str(text) if words.normalizer else text for text in texts)
        kept = _kept(content, scripts("".join(set().union(*normalised))) | ALWAYS, words)
        content = _renumbered(content, kept)
    else:
        kept = np.arange(max(words.get_vocab(with_added_tokens=True).values()) + 1, dtype=np.int64)
    to.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return kept


def _pieces(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _specials(content: dict[str, Any], pieces: dict[str, int], words: Tokenizer) -> set[int]:
    """Ids that a tokenizer names itself, and what the arithmetic of the others depends on."""
    model = content["model"]
    ids = {token["id"] for token in content.get("added_tokens", ())}
    ids |= set(words.encode("", "").ids)
    if content.get("padding"):
        ids.add(content["padding"]["pad_id"])
    if model["type"] == "WordPiece":
        return ids | {pieces[model["unk_token"]]}
    # The score of an unknown character is set below the least score of all
    ids.add(min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1]))
    ids |= {number for piece, number in pieces.items() if model.get("byte_fallback") and _BYTE.fullmatch(piece)}
    return ids if model.get("unk_id") is None else ids | {model["unk_id"]}


def _kept(content: dict[str, Any], used: frozenset[str], words: Tokenizer) -> NDArray[np.int64]:
    pieces = _pieces(content["model"])
    kept = _specials(content, pieces, words)
    for piece, number in pieces.items():
        reserved = _RESERVED.fullmatch(piece) and number not in words.encode(piece, add_special_tokens=False).ids
        if not reserved and scripts(piece) <= used:
            kept.add(number)
    return np.array(sorted(kept), np.int64)


def _renumbered(content: dict[str, Any], kept: NDArray[np.int64]) -> dict[str, Any]:
    new = {int(old): number for number, old in enumerate(kept)}
    model = dict(content["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [one for old, one in enumerate(model["vocab"]) if old in new]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {piece: new[old] for piece, old in model["vocab"].items() if old in new}
    made = {**content, "model": model}
    made["added_tokens"] = [{**token, "id": new[token["id"]]} for token in content.get("added_tokens", ())]
    made["post_processor"] = _with_ids(content.get("post_processor"), new.__getitem__)
    if content.get("padding"):
        made["padding"] = {**content["padding"], "pad_id": new[content["padding"]["pad_id"]]}
    _check(made, new, content)
    return made


def _with_ids(processor: dict[str, Any] | None, change: Callable[[int], int]) -> dict[str, Any] | None:
    """A post-processor with each id in it changed."""
    if processor is None:
        return None
    made = dict(processor)
    if "processors" in made:
        made["processors"] = [_with_ids(one, change) for one in made["processors"]]
    if "special_tokens" in made:
        made["special_tokens"] = {
            name: {**token, "ids": [change(number) for number in token["ids"]]}
            for name, token in made["special_tokens"].items()
        }
    for end in {"cls", "sep"} & made.keys():
        made[end] = [made[end][0], change(made[end][1])]
    return made


def _check(made: dict[str, Any], new: dict[int, int], content: dict[str, Any]) -> None:
    """Hold the renumbered file, as the library reads it, against the old one."""
    before = Tokenizer.from_str(json.dumps(content)).get_vocab(with_added_tokens=True)
    after = Tokenizer.from_str(json.dumps(made)).get_vocab(with_added_tokens=True)
    if after != {piece: new[old] for piece, old in before.items() if old in new}:
        raise ArtefactError("the tokenizer's added tokens have ids that leave gaps; choose another base model")


def slice_embeddings(trunk: PreTrainedModel, rows: NDArray[np.int64]) -> None:
    """Shrink a model's input embeddings to the kept rows, and its configuration with them.

    Args:
        rows: the old id of each new id, int64 [V'].

    Raises:
        ArtefactError: the rows are another model's, or positions are counted from a padding id that would move.
    """
    table = trunk.get_input_embeddings()
    if not isinstance(table, nn.Embedding) or rows.max() >= table.num_embeddings:
        raise ArtefactError(
            f"the tokenizer has ids up to {rows.max()}, the model's table is {table}; "
            "give the model the tokenizer that it was trained with"
        )
    new = {int(old): number for number, old in enumerate(rows)}
    positions = (part for name, part in trunk.named_modules() if name.endswith("position_embeddings"))
    counted_from = {part.padding_idx for part in positions if getattr(part, "padding_idx", None) is not None}
    if any(new.get(old) != old for old in counted_from):
        raise ArtefactError(
            f"the model counts positions from its padding id {counted_from}, which pruning would move; "
            "choose another base model"
        )
    table.weight = nn.Parameter(table.weight.detach()[torch.from_numpy(rows)].clone())
    table.num_embeddings = len(rows)
    table.padding_idx = None if table.padding_idx is None else new.get(table.padding_idx)
    trunk.config.vocab_size = len(rows)
    for name, old in list(vars(trunk.config).items()):
        if name.endswith("_token_id") and isinstance(old, int):
            setattr(trunk.config, name, new.get(old))
