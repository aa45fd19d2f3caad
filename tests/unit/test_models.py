"""The networks against plain loops, and their ONNX graphs against the networks."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from build.compression.export import check, export_cross_encoder, export_encoder, export_ranker
from build.training.models import Blend, CrossEncoder, Encoder, Ranker, positions
from shelfbridge.contract import CANDIDATES, MODELS, SHORTLIST, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError

WIDTH = 32


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a small BERT of random weights."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1100,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=160,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def opened(folder) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def queries(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Word pieces, the last query half padding."""
    ids = torch.randint(1, 1000, (batch, length), generator=torch.Generator().manual_seed(batch))
    mask = torch.ones_like(ids)
    mask[-1, (length + 1) // 2 :] = 0
    return ids, mask


@pytest.fixture(scope="module")
def encoder(base):
    return Encoder(base).eval()


@pytest.fixture(scope="module")
def exported(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    encoder.save(folder)
    export_encoder(folder, trained=folder)
    return opened(folder)


class TestEncoder:
    @torch.inference_mode()
    def test_gives_unit_vectors_and_zero_for_padding(self, encoder):
        ids, mask = queries(3, 8)
        embedding, tokens = encoder(ids, mask)
        assert embedding.shape == (3, WIDTH)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(tokens.norm(dim=-1), mask.float())

    @torch.inference_mode()
    def test_a_token_vector_is_as_long_as_its_piece_weighs(self, base):
        encoder = Encoder(base).eval()
        encoder.weights[:] = torch.linspace(1, 3, len(encoder.weights))
        ids, mask = queries(2, 8)
        torch.testing.assert_close(encoder(ids, mask)[1].norm(dim=-1), encoder.weights[ids] * mask)

    @torch.inference_mode()
    def test_padding_changes_nothing(self, encoder):
        ids, mask = queries(1, 8)
        padded = torch.cat([ids, torch.full((1, 5), 7)], 1), torch.cat([mask, torch.zeros(1, 5, dtype=torch.int64)], 1)
        alone, beside = encoder(ids, mask), encoder(*padded)
        torch.testing.assert_close(alone[0], beside[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone[1], beside[1][:, :8], atol=1e-5, rtol=0)

    @torch.inference_mode()
    def test_is_saved_and_loaded(self, encoder, tmp_path):
        encoder.save(tmp_path)
        for one, other in zip(encoder(*queries(2, 5)), Encoder.load(tmp_path)(*queries(2, 5)), strict=True):
            torch.testing.assert_close(one, other)

    def test_a_base_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(ArtefactError, match=r"nowhere' cannot be loaded .*give a Hugging Face id"):
            Encoder(str(tmp_path / "nowhere"))

    @torch.inference_mode()
    @pytest.mark.parametrize(("batch", "length"), [(1, 2), (1, 64), (5, 17)])
    def test_the_graph_agrees_for_any_batch_and_length(self, encoder, exported, batch, length):
        ids, mask = queries(batch, length)
        got = exported.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        for one, other in zip(encoder(ids, mask), got, strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=2e-4)

    def test_the_graph_has_the_contracts_tensors(self, exported):
        assert [one.name for one in exported.get_inputs()] == [one.name for one in MODELS["encoder"].inputs]
        assert [one.name for one in exported.get_outputs()] == [one.name for one in MODELS["encoder"].outputs]


class TestRanker:
    SCALE = 1 / 127

    @pytest.fixture
    def ranker(self):
        torch.manual_seed(1)
        return Ranker(self.SCALE).eval()

    @staticmethod
    def inputs(batch: int = 2, candidates: int = 12, seed: int = 0) -> tuple[Tensor, ...]:
        """The last query has padding; the products have 0 to 5 tokens and rubbish behind them."""
        torch.manual_seed(seed)
        vectors = nn.functional.normalize(torch.randn(batch, 4, TOKEN_WIDTH), dim=-1)
        vectors *= torch.tensor([1.0, 3.0, 0.5, 2.0])[:, None]
        vectors[-1, 2:] = 0
        tokens = (nn.functional.normalize(torch.randn(batch, candidates, 5, TOKEN_WIDTH), dim=-1) * 127).to(torch.int8)
        lengths = (torch.arange(candidates, dtype=torch.int32) % 6).expand(batch, candidates).contiguous()
        cosines, signals = torch.rand(batch, candidates, candidates), torch.rand(batch, candidates, len(SIGNALS))
        return vectors, tokens, lengths, cosines, signals

    @torch.inference_mode()
    def test_features_are_those_of_a_plain_loop(self, ranker):
        vectors, tokens, lengths, cosines, signals = self.inputs()
        got = ranker.features(vectors, tokens, lengths, cosines, signals).numpy()
        for query in range(2):
            pieces = [v for v in vectors[query].numpy() if v.any()]
            plain = got[query, :, 0]
            for place in range(12):
                stored = tokens[query, place, : lengths[query, place]].numpy().astype(np.float32) * self.SCALE
                weights = np.array([np.linalg.norm(piece) for piece in pieces])
                units = [piece / weight for piece, weight in zip(pieces, weights, strict=True)]
                best = np.array([max((float(one @ vector) for vector in stored), default=-1.0) for one in units])
                sharp = ranker.SHARPNESS
                assert got[query, place, 0] == pytest.approx(best.mean(), abs=1e-5)
                assert got[query, place, 1] == pytest.approx(np.average(best, weights=weights), abs=1e-5)
                least = -np.log(np.average(np.exp(-sharp * best), weights=weights)) / sharp
                assert got[query, place, 2] == pytest.approx(least, abs=1e-5)
                company = cosines[query, place].numpy()
                assert got[query, place, 3] == pytest.approx(company[: ranker.FEEDBACK].mean(), abs=1e-5)
                close = company[np.argsort(-plain, kind="stable")[: ranker.FEEDBACK]].mean()
                assert got[query, place, 4] == pytest.approx(close, abs=1e-5)
                assert got[query, place, 5] == pytest.approx(21 / (21 + place))
        np.testing.assert_array_equal(got[..., -len(SIGNALS) :], signals.numpy())

    @torch.inference_mode()
    def test_what_lies_behind_a_product_does_not_count(self, ranker):
        vectors, tokens, lengths, cosines, signals = self.inputs()
        places = torch.arange(5)[None, None, :, None]
        cleared = tokens.masked_fill(places >= lengths[..., None, None], 0)
        torch.testing.assert_close(
            ranker(vectors, tokens, lengths, cosines, signals), ranker(vectors, cleared, lengths, cosines, signals)
        )

    @torch.inference_mode()
    def test_the_padding_of_a_query_does_not_count(self, ranker):
        vectors, *rest = self.inputs(batch=1)
        longer = torch.cat([vectors, torch.zeros(1, 3, TOKEN_WIDTH)], 1)
        torch.testing.assert_close(ranker(longer, *rest), ranker(vectors, *rest))

    @torch.inference_mode()
    def test_is_saved_and_loaded(self, ranker, tmp_path):
        ranker.save(tmp_path)
        torch.testing.assert_close(Ranker.load(tmp_path)(*self.inputs()), ranker(*self.inputs()))

    @torch.inference_mode()
    def test_the_graph_agrees_for_any_batch_and_length(self, ranker, tmp_path):
        ranker.save(tmp_path)
        export_ranker(tmp_path, trained=tmp_path)
        session = opened(tmp_path)
        names = [one.name for one in MODELS["ranker"].inputs]
        for batch in (1, 3):
            inputs = self.inputs(batch, CANDIDATES)
            (got,) = session.run(None, dict(zip(names, (one.numpy() for one in inputs), strict=True)))
            np.testing.assert_allclose(got, ranker(*inputs).numpy(), atol=2e-4)


class FirstPiece(nn.Module):
    """In a cross-encoder's place: the logit of a pair is its first word piece."""

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        return ids[:, 0].float()


class TestBlend:
    @staticmethod
    def blended(weight: float, logits: list[int], scores: Tensor) -> Tensor:
        ids = torch.zeros(1, SHORTLIST, 3, dtype=torch.int64)
        ids[0, :, 0] = torch.tensor(logits)
        return Blend(FirstPiece(), weight)(ids, ids, torch.ones_like(ids), scores[None])[0]

    SCORES = torch.linspace(5, -5, CANDIDATES)

    def test_at_weight_nought_keeps_the_rankers_order(self):
        made = self.blended(0.0, list(range(SHORTLIST)), self.SCORES)
        assert made.argsort(descending=True, stable=True).tolist() == list(range(CANDIDATES))

    def test_orders_the_shortlist_by_both(self):
        made = self.blended(0.5, list(range(SHORTLIST)), self.SCORES)
        expected = self.SCORES[:SHORTLIST] + 0.5 * torch.arange(SHORTLIST)
        torch.testing.assert_close(made[:SHORTLIST], expected)

    def test_the_shortlist_stays_ahead_and_the_rest_in_order(self):
        made = self.blended(1.0, [-(7**place % 90) for place in range(SHORTLIST)], self.SCORES)
        assert made[:SHORTLIST].min() >= made[SHORTLIST:].max() - 1e-5
        assert made[SHORTLIST:].diff().max() <= 0

    @torch.inference_mode()
    def test_the_graph_agrees_for_any_batch_and_length(self, base, tmp_path):
        torch.manual_seed(3)
        cross_encoder = CrossEncoder(base).eval()
        cross_encoder.save(tmp_path)
        export_cross_encoder(tmp_path, trained=tmp_path, weight=0.3)
        names = [one.name for one in MODELS["cross_encoder"].inputs]
        for batch, length in ((1, 5), (2, 21)):
            ids = torch.randint(1, 1000, (batch, SHORTLIST, length))
            mask = torch.ones_like(ids)
            mask[:, 3:, 4:] = 0
            inputs = ids, mask, mask, self.SCORES.expand(batch, -1).contiguous()
            (got,) = opened(tmp_path).run(None, dict(zip(names, (one.numpy() for one in inputs), strict=True)))
            np.testing.assert_allclose(got, Blend(cross_encoder, 0.3)(*inputs).numpy(), atol=2e-4)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


EXAMPLE = {"x": torch.ones(2, 3)}


class TestCheck:
    @staticmethod
    def write(folder, body: str, domain: str = ""):
        imports = f', "{domain}": 1' if domain else ""
        text = f'<ir_version: 9, opset_import: ["": 18{imports}]> g (float[n, 3] x) => (float[n, 3] y) {{ {body} }}'
        onnx.save(onnx.parser.parse_model(text), folder / "model.onnx")
        return folder / "model.onnx"

    def test_lets_an_equal_graph_pass(self, tmp_path):
        check(self.write(tmp_path, "y = Add (x, x)"), Double(), EXAMPLE)

    def test_refuses_another_output(self, tmp_path):
        with pytest.raises(ArtefactError, match=r"differs from its torch model by 1\.0e\+00"):
            check(self.write(tmp_path, "y = Mul (x, x)"), Double(), EXAMPLE)

    def test_refuses_what_is_not_a_number(self, tmp_path):
        with pytest.raises(ArtefactError, match="differs from its torch model by nan"):
            check(self.write(tmp_path, "z = Sub (x, x) y = Div (z, z)"), Double(), EXAMPLE)

    def test_refuses_operators_of_one_runtime_alone(self, tmp_path):
        path = self.write(tmp_path, "y = com.microsoft.Gelu (x)", domain="com.microsoft")
        with pytest.raises(ArtefactError, match=r"holds operators of com\.microsoft"):
            check(path, Double(), EXAMPLE)

    def test_refuses_a_graph_that_is_bound_to_one_batch(self, tmp_path):
        body = "i = Constant <value = int64[1] {1}> () s = Gather (x, i) y = Mul (s, x)"
        path = self.write(tmp_path, body)
        with pytest.raises(Exception, match=r"out of bounds|indices element"):
            check(path, Double(), {"x": torch.full((2, 3), 2.0)})


def test_positions_after_the_paddings_id_are_the_transformers_own():
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = XLMRobertaConfig(vocab_size=1100, max_position_embeddings=160, type_vocab_size=1, **sizes)
    trunk, (ids, mask) = XLMRobertaModel(config).eval(), queries(3, 8)
    ids = ids.clamp(min=4).masked_fill(mask == 0, config.pad_token_id)
    own = trunk(input_ids=ids, attention_mask=mask).last_hidden_state
    given = trunk(input_ids=ids, attention_mask=mask, **positions(trunk, mask)).last_hidden_state
    torch.testing.assert_close(given, own)
    assert positions(trunk, mask)["position_ids"][0].tolist() == list(range(2, 10))


def test_positions_are_left_to_a_transformer_that_counts_from_nought(base):
    assert positions(BertModel.from_pretrained(base), queries(1, 4)[1]) == {}


def test_a_base_without_token_types_is_exported_with_all_the_contracts_inputs(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = XLMRobertaConfig(vocab_size=1100, max_position_embeddings=160, type_vocab_size=1, **sizes)
    XLMRobertaModel(config).save_pretrained(tmp_path / "base")
    CrossEncoder(str(tmp_path / "base")).save(tmp_path)
    export_cross_encoder(tmp_path, trained=tmp_path, weight=0.5)
    assert [one.name for one in opened(tmp_path).get_inputs()] == [one.name for one in MODELS["cross_encoder"].inputs]
    Encoder(str(tmp_path / "base")).save(tmp_path)
    export_encoder(tmp_path, trained=tmp_path)
    assert [one.name for one in opened(tmp_path).get_inputs()] == [one.name for one in MODELS["encoder"].inputs]
