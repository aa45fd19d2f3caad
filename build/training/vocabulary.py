"""Drop the word pieces, and with them the embedding rows, that a shop's language never uses.

    python -m build.training.vocabulary --tokenizer tokenizer.json --catalogue F --judgments F \
        [--level script] [--out DIR]

Up to nine tenths of a multilingual encoder are rows of pieces that no text of the shop is cut into. The method is that
of Abdaoui et al. (arXiv:2010.05609) and Ushio et al. (arXiv:2305.15020), at two levels:

- script: drop the pieces with a character of a Unicode script that the shop's texts never use, and rows reserved for
  nobody. Text in the shop's scripts, and always in Latin, is cut exactly as before.
- seen: keep only the pieces that the catalogue and the training queries are cut into, and single characters of the
  shop's scripts, so that nothing becomes unknown. A word never seen is cut into smaller pieces.

WordPiece and Unigram tokenizers can lose pieces. A piece of BPE is a step towards others: "script" leaves such a
tokenizer whole, "seen" refuses it.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from fontTools import unicodedata
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel

from shelfbridge.catalogue import Catalogue, Judgments, read_catalogue, read_judgments
from shelfbridge.contract import EMBEDDING_WIDTH
from shelfbridge.errors import ArtefactError, ShelfbridgeError

Level = Literal["whole", "script", "seen"]
PRUNABLE = ("WordPiece", "Unigram")
ANY_SCRIPT = frozenset({"Zyyy", "Zinh", "Zzzz"})
"""Characters of all scripts or of none known: digits, punctuation, accents."""
ALWAYS = ANY_SCRIPT | {"Latn"}
_RESERVED = re.compile(r"[\[<]unused_?\d+[\]>]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_METASPACE = "\u2581"
MEGABYTE = 1e6


@dataclass(frozen=True)
class Usage:
    """What some texts use of a tokenizer: times per piece, int64 [V], and Unicode scripts (ISO 15924 codes)."""

    counts: NDArray[np.int64]
    scripts: frozenset[str]


def usage(tokenizer: Path, texts: Sequence[str]) -> Usage:
    """Cut texts and count."""
    words = _open(tokenizer)
    size = max(words.get_vocab(with_added_tokens=True).values()) + 1
    counts, characters = np.zeros(size, np.int64), set[str]()
    for start in range(0, len(texts), 1024):
        some = list(texts[start : start + 1024])
        ids = [i for one in words.encode_batch_fast(some, add_special_tokens=False) for i in one.ids]
        counts += np.bincount(np.array(ids, np.int64), minlength=size)
        characters.update(*(words.normalizer.normalize_str(text) if words.normalizer else text for text in some))
    return Usage(counts, scripts("".join(characters)) | ALWAYS)


def scripts(text: str) -> frozenset[str]:
    """Scripts of a text's characters, as ISO 15924 codes."""
    return frozenset(map(unicodedata.script, set(text)))


def shop_usage(tokenizer: Path, catalogue: Catalogue, judgments: Judgments, level: Level) -> Usage:
    """Usage by a shop's products and queries.

    At level "seen" only training queries count: the others must meet the vocabulary as tomorrow's will.
    """
    queries = (judgments.of("train") if level == "seen" else judgments).queries.values()
    return usage(tokenizer, [*(product.full_text for product in catalogue.products), *queries])


def prune(tokenizer: Path, used: Usage, level: Level, to: Path) -> NDArray[np.int64]:
    """Write a tokenizer file without the pieces that a level drops; the others keep their order.

    Returns:
        kept: the old id of each new id, int64 [V'].

    Raises:
        ArtefactError: level "seen" of a tokenizer that cannot lose pieces.
    """
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    kind = content["model"].get("type")
    if level == "seen" and kind not in PRUNABLE:
        raise ArtefactError(
            f"{tokenizer.name} is a {kind} tokenizer, whose pieces are steps towards others; "
            "keep it whole (level script does), or choose a base model with a WordPiece or Unigram tokenizer"
        )
    if level == "whole" or kind not in PRUNABLE:
        kept = np.arange(len(used.counts), dtype=np.int64)
    else:
        kept = _kept(content, used, level, _open(tokenizer))
        content = _renumbered(content, kept)
    to.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return kept


def _open(file: Path) -> Tokenizer:
    try:
        words = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ArtefactError(f"{file} is not a tokenizer file ({error}); give a tokenizer.json") from error
    words.no_padding()
    words.no_truncation()
    return words


def _pieces(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _specials(content: dict[str, Any], pieces: dict[str, int]) -> set[int]:
    """Ids that a tokenizer names itself, and what the arithmetic of the others depends on."""
    model = content["model"]
    ids = {token["id"] for token in content.get("added_tokens", ())}
    ids |= set(_ids(content.get("post_processor")))
    if content.get("padding"):
        ids.add(content["padding"]["pad_id"])
    if model["type"] == "WordPiece":
        return ids | {pieces[model["unk_token"]]}
    # The score of an unknown character is set below the least score of all
    ids.add(min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1]))
    ids |= {number for piece, number in pieces.items() if model.get("byte_fallback") and _BYTE.fullmatch(piece)}
    return ids if model.get("unk_id") is None else ids | {model["unk_id"]}


def _kept(content: dict[str, Any], used: Usage, level: Level, words: Tokenizer) -> NDArray[np.int64]:
    pieces = _pieces(content["model"])
    prefix = content["model"].get("continuing_subword_prefix", "")
    kept = _specials(content, pieces)
    for piece, number in pieces.items():
        reserved = _RESERVED.fullmatch(piece) and number not in words.encode(piece, add_special_tokens=False).ids
        if reserved or not scripts(piece) <= used.scripts:
            continue
        if level == "script" or used.counts[number] or not _spelt(piece, prefix, pieces):
            kept.add(number)
    return np.array(sorted(kept), np.int64)


def _spelt(piece: str, prefix: str, pieces: dict[str, int]) -> bool:
    """Whether the characters of a piece, itself none, have pieces of their own to take its place."""
    continued = bool(prefix) and piece.startswith(prefix) and piece != prefix
    core = piece[len(prefix) :] if continued else piece
    if len(core.removeprefix(_METASPACE)) <= 1:
        return False
    return all((prefix if continued or place else "") + letter in pieces for place, letter in enumerate(core))


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


def _ids(processor: dict[str, Any] | None) -> list[int]:
    found: list[int] = []

    def note(number: int) -> int:
        found.append(number)
        return number

    _with_ids(processor, note)
    return found


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
        raise ArtefactError("the tokenizer's added tokens have ids that leave gaps; keep it whole (level whole)")


def slice_embeddings(trunk: PreTrainedModel, kept: NDArray[np.int64] | Path) -> None:
    """Shrink a model's input embeddings to the kept rows, and its configuration with them.

    Args:
        kept: the old id of each new id, int64 [V'], or the file of it.

    Raises:
        ArtefactError: the rows are another model's, or positions are counted from a padding id that would move.
    """
    rows = np.load(kept) if isinstance(kept, Path) else kept
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
            "keep its vocabulary whole (level whole)"
        )
    table.weight = nn.Parameter(table.weight.detach()[torch.from_numpy(rows)].clone())
    table.num_embeddings = len(rows)
    table.padding_idx = None if table.padding_idx is None else new.get(table.padding_idx)
    trunk.config.vocab_size = len(rows)
    for name, old in list(vars(trunk.config).items()):
        if name.endswith("_token_id") and isinstance(old, int):
            setattr(trunk.config, name, new.get(old))


def cut_otherwise(before: Path, after: Path, texts: Sequence[str]) -> int:
    """How many of some texts two tokenizers cut into different pieces."""
    old, new = (
        # An encoding's own tokens show an unknown character as itself
        [[words.id_to_token(number) for number in one.ids] for one in words.encode_batch_fast(list(texts))]
        for words in (_open(before), _open(after))
    )
    return sum(one != other for one, other in zip(old, new, strict=True))


def show(tokenizer: Path, kept: dict[Level, NDArray[np.int64]], width: int) -> Table:
    """Pieces per script, and what each level drops of them."""
    pieces = _pieces(json.loads(tokenizer.read_text(encoding="utf-8"))["model"])
    names = {number: _script_name(piece) for piece, number in pieces.items()}
    left = {
        level: Counter(names[number] for number in rows.tolist() if number in names) for level, rows in kept.items()
    }
    table = Table("script", "pieces", *(f"dropped, {level}" for level in kept))
    for name, count in [*Counter(names.values()).most_common(), ("all", len(names))]:
        dropped = [count - (some.total() if name == "all" else some[name]) for some in left.values()]
        cells = [f"{rows:,} ({rows / count:.0%}, {rows * width * 4 / MEGABYTE:.1f} MB)" for rows in dropped]
        table.add_row(name, f"{count:,}", *cells)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _script_name(piece: str) -> str:
    own = sorted(scripts(piece) - ANY_SCRIPT)
    return " + ".join(unicodedata.script_name(code) for code in own) or "none (digits, punctuation)"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE", help="a tokenizer.json")
    parser.add_argument("--catalogue", type=Path, required=True, metavar="FILE")
    parser.add_argument("--judgments", type=Path, required=True, metavar="FILE")
    parser.add_argument("--level", choices=get_args(Level), help="this level alone (default: script and seen)")
    parser.add_argument(
        "--width", type=int, default=EMBEDDING_WIDTH, help="numbers in an embedding row (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write LEVEL/tokenizer.json and LEVEL/kept.npy there")
    options = parser.parse_args()
    console = Console()
    kept: dict[Level, NDArray[np.int64]] = {}
    try:
        catalogue = read_catalogue(options.catalogue)
        judgments = read_judgments(options.judgments, catalogue)
        held_out = [*judgments.of("dev").queries.values(), *judgments.of("test").queries.values()]
        with tempfile.TemporaryDirectory() as scratch:
            for level in (options.level,) if options.level else ("script", "seen"):
                folder = (options.out or Path(scratch)) / level
                folder.mkdir(parents=True, exist_ok=True)
                used = shop_usage(options.tokenizer, catalogue, judgments, level)
                kept[level] = prune(options.tokenizer, used, level, folder / "tokenizer.json")
                np.save(folder / "kept.npy", kept[level])
                changed = cut_otherwise(options.tokenizer, folder / "tokenizer.json", held_out)
                console.print(f"{level}: {changed} of {len(held_out)} dev and test queries are cut otherwise")
        console.print(show(options.tokenizer, kept, options.width))
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
