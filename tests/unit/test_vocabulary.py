"""Tokenizers and embeddings that lose what the shop's language never uses, held against the whole ones."""

import json
import string

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from build.settings import preset
from build.training.models import CrossEncoder, Encoder
from build.training.tokenizer import write_tokenizer
from build.training.vocabulary import prune, scripts, slice_embeddings
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Product
from shelfbridge.errors import ArtefactError

LATIN, CYRILLIC, HAN = string.ascii_lowercase, "абвгдежзиклмнопрст", "鞋红跑步"
COMMON = string.digits + "-/.!,"
SHOP = ("red running shoes 42", "trail shoes - waterproof", "running socks 3/4")
WORDS = ("run", "running", "shoes", "sock", "trail", "red", "tent", "вода", "нос", "跑步")


def word_piece() -> Tokenizer:
    """As a BERT's: reserved pieces, words and their ends, single characters."""
    pieces = ["[PAD]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = LATIN + CYRILLIC + HAN + COMMON
    pieces += [*characters, *(f"##{c}" for c in characters)]
    pieces += [*WORDS, "##ing", "##proof", "##ода"]
    words = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = [("[CLS]", words.token_to_id("[CLS]")), ("[SEP]", words.token_to_id("[SEP]"))]
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    words.enable_padding(pad_id=0, pad_token="[PAD]")
    return words


def unigram() -> Tokenizer:
    """As an XLM-R's: the mask last, and the least score on a piece of another script."""
    singles = [(c, -8.0 - 0.01 * i) for i, c in enumerate(LATIN + CYRILLIC + HAN + COMMON)]
    longer = [(f"\u2581{word}", -4.0 - 0.1 * i) for i, word in enumerate(WORDS)] + [("ing", -5.0), ("оданос", -30.0)]
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("сода", -20.0), ("<unk>", 0.0)]
    vocab = [*specials, ("\u2581", -3.0), *singles, *longer, ("<mask>", 0.0)]
    words = Tokenizer(models.Unigram(vocab, unk_id=4, byte_fallback=False))
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    words.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return words


MAKERS = {"WordPiece": word_piece, "Unigram": unigram}


@pytest.fixture(scope="module", params=MAKERS)
def whole(request, tmp_path_factory):
    """The file of a whole tokenizer."""
    file = tmp_path_factory.mktemp(request.param) / "whole.json"
    MAKERS[request.param]().save(str(file))
    return file


@pytest.fixture(scope="module")
def pruned(whole):
    """Whole file, pruned file and the ids kept."""
    to = whole.with_name("pruned.json")
    return whole, to, prune(whole, SHOP, to)


def opened(file) -> Tokenizer:
    words = Tokenizer.from_file(str(file))
    words.no_padding()
    return words


def cut_otherwise(before, after, texts) -> int:
    """How many of some texts two tokenizers cut into different pieces."""
    old, new = (
        # An encoding's own tokens show an unknown character as itself
        [[words.id_to_token(number) for number in one.ids] for one in words.encode_batch_fast(list(texts))]
        for words in (opened(before), opened(after))
    )
    return sum(one != other for one, other in zip(old, new, strict=True))


def test_what_is_left_has_new_ids_in_the_old_order(pruned):
    whole, to, kept = pruned
    old, new = opened(whole).get_vocab(), opened(to).get_vocab()
    assert 10 < len(kept) < len(old)
    assert sorted(new.values()) == list(range(len(kept)))
    assert {piece: old[piece] for piece in new} == {piece: kept[number] for piece, number in new.items()}
    assert (np.diff(kept) > 0).all()


def test_pieces_of_foreign_scripts_and_reserved_ones_go(pruned):
    left = opened(pruned[1]).get_vocab().keys() - {"оданос"}
    assert not scripts("".join(left)) & {"Cyrl", "Hani"}
    assert not any("unused" in piece for piece in left)


def test_a_script_that_occurs_once_stays_whole(whole, tmp_path):
    prune(whole, [*SHOP, "鞋"], tmp_path / "t.json")
    left = opened(tmp_path / "t.json").get_vocab()
    assert set(HAN) <= left.keys()
    assert "в" not in left


def test_special_tokens_are_the_same_ones(pruned):
    whole, to, _ = pruned
    old, new = opened(whole), opened(to)
    for words in (old, new):
        assert words.encode("zz").tokens[0] == words.id_to_token(words.encode("zz").ids[0])
    assert new.encode("red", "shoes").tokens == old.encode("red", "shoes").tokens
    assert new.encode("red").special_tokens_mask == old.encode("red").special_tokens_mask
    assert new.encode("x ♞").tokens == old.encode("x ♞").tokens
    content = json.loads(to.read_text())
    assert all(new.id_to_token(token["id"]) == token["content"] for token in content["added_tokens"])
    if content["padding"]:
        assert new.id_to_token(content["padding"]["pad_id"]) == content["padding"]["pad_token"]


def test_the_shops_texts_are_cut_as_before(pruned):
    assert cut_otherwise(*pruned[:2], SHOP) == 0


@given(st.text(st.sampled_from(LATIN + LATIN.upper() + COMMON + " ÉßøŁ♞²½\u0301\u3000"), max_size=40))
def test_any_text_of_kept_scripts_is_cut_as_before(whole, text):
    to = whole.with_name("any.json")
    if not to.exists():
        prune(whole, SHOP, to)
    assert cut_otherwise(whole, to, [text]) == 0


def test_a_piece_that_became_unknown_counts_as_cut_otherwise(whole, tmp_path):
    prune(whole, SHOP, tmp_path / "t.json")
    assert cut_otherwise(whole, tmp_path / "t.json", ["red shoes", "red вода", "鞋"]) == 2


def test_the_score_of_the_unknown_does_not_move(tmp_path):
    """Unknown characters cost ten less than the least score of all pieces, also of those dropped."""
    unigram().save(str(tmp_path / "whole.json"))
    prune(tmp_path / "whole.json", SHOP, tmp_path / "t.json")
    scores = [
        [score for _, score in json.loads((tmp_path / name).read_text())["model"]["vocab"]]
        for name in ("whole.json", "t.json")
    ]
    assert min(scores[0]) == min(scores[1])


def test_bpe_is_left_whole(tmp_path):
    file = tmp_path / "whole.json"
    Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).save(str(file))
    assert prune(file, ["a"], tmp_path / "t.json").tolist() == [0, 1, 2]
    assert cut_otherwise(file, tmp_path / "t.json", ["ab ba"]) == 0


def small(kind, size: int):
    torch.manual_seed(0)
    config, model = {"WordPiece": (BertConfig, BertModel), "Unigram": (XLMRobertaConfig, XLMRobertaModel)}[kind]
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return model(config(vocab_size=size, max_position_embeddings=64, **shape)).eval()


@pytest.mark.parametrize("kind", MAKERS)
@torch.inference_mode()
def test_a_sliced_model_answers_the_same(kind, tmp_path):
    file, to = tmp_path / "whole.json", tmp_path / "t.json"
    MAKERS[kind]().save(str(file))
    kept = prune(file, SHOP, to)
    old, new = opened(file), opened(to)
    small(kind, old.get_vocab_size() + 7).save_pretrained(tmp_path / "base")
    np.save(tmp_path / "kept.npy", kept)
    for network in (Encoder, CrossEncoder):
        torch.manual_seed(1)
        before = network(str(tmp_path / "base")).eval()
        torch.manual_seed(1)
        after = network(str(tmp_path / "base"), kept=tmp_path / "kept.npy").eval()
        assert len(after.trunk.get_input_embeddings().weight) == after.trunk.config.vocab_size == len(kept)
        after.save(tmp_path / network.__name__)
        again = network.load(tmp_path / network.__name__)
        for text in SHOP:
            outputs = [one(*inputs(words, text, network)) for one, words in ((before, old), (after, new), (again, new))]
            torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=0)
            torch.testing.assert_close(outputs[2], outputs[0], rtol=0, atol=1e-5)


def inputs(words: Tokenizer, text: str, network: type) -> list[torch.Tensor]:
    ids = torch.tensor([words.encode(text).ids])
    return [ids, torch.ones_like(ids), *([torch.zeros_like(ids)] if network is CrossEncoder else [])]


def test_the_configs_special_ids_follow():
    trunk = small("WordPiece", 20)
    trunk.config.pad_token_id, trunk.config.eos_token_id, trunk.config.bos_token_id = 3, 5, 4
    slice_embeddings(trunk, np.array([1, 3, 5, 9]))
    assert (trunk.config.pad_token_id, trunk.config.eos_token_id, trunk.config.bos_token_id) == (1, 2, None)


def test_rows_of_another_model_are_refused():
    with pytest.raises(ArtefactError, match=r"ids up to 20.*the tokenizer that it was trained with"):
        slice_embeddings(small("WordPiece", 20), np.array([0, 20]))


def test_a_model_that_counts_positions_from_its_padding_keeps_it_in_place():
    slice_embeddings(small("Unigram", 20), np.array([0, 1, 9]))
    with pytest.raises(ArtefactError, match=r"padding id.*choose another base model"):
        slice_embeddings(small("Unigram", 20), np.array([1, 2, 9]))


def test_the_stage_keeps_what_products_and_queries_use(tmp_path):
    word_piece().save(str(tmp_path / "tokenizer.json"))
    small("WordPiece", 200).save_pretrained(tmp_path)
    catalogue = Catalogue((Product(product_id="1", title="red shoes"),))
    judgments = Judgments((Judgment(query_id="q", query="跑步", product_id="1", label="E", split="dev"),))
    settings = preset("smoke").model_copy(update={"base": str(tmp_path)})
    (tmp_path / "made").mkdir()
    write_tokenizer(tmp_path / "made", settings=settings, catalogue=catalogue, judgments=judgments)
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["kept.npy", "tokenizer.json"]
    left = opened(tmp_path / "made" / "tokenizer.json").get_vocab()
    assert len(np.load(tmp_path / "made" / "kept.npy")) == len(left)
    assert {"trail", "tent", "跑"} <= left.keys()
    assert "вода" not in left
