"""What is cut out of a transformer is gone, what is left computes as before, and is saved and loaded so."""

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, XLMRobertaConfig, XLMRobertaModel

from build.training.models import CrossEncoder, Encoder
from build.training.narrow import Shape, layers_of, multiplications, narrow, shape_of
from build.training.prune import Importance, cut, importance
from shelfbridge.errors import ArtefactError

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
IDS = torch.tensor([[5, 9, 12, 7], [8, 3, 4, 11]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def small(kind=BertModel, config=BertConfig):
    torch.manual_seed(0)
    return kind(config(**SIZES, attn_implementation="eager")).eval()


def states(model):
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=MASK).last_hidden_state


def test_what_has_no_effect_is_cut_without_effect():
    model = small()
    for layer in layers_of(model):
        layer.attention.output.dense.weight.data[:, 8:16] = 0  # head 1
        layer.output.dense.weight.data[:, 40:] = 0  # the last eight neurons
    before = states(model)
    narrow(model, range(4), [[0, 2, 3]] * 4, [list(range(40))] * 4)
    assert shape_of(model) == Shape(4, 3, 40)
    torch.testing.assert_close(states(model), before)


def test_a_layer_that_is_cut_is_skipped():
    model, other = small(), small()
    narrow(model, [0, 3], [range(4)] * 2, [range(48)] * 2)
    other.encoder.layer = torch.nn.ModuleList([other.encoder.layer[0], other.encoder.layer[3]])
    torch.testing.assert_close(states(model), states(other))


def test_fewer_multiplications_are_counted_as_they_are_left_out():
    model = small()
    linear = 4 * 32 * 32 + 2 * 32 * 48
    assert multiplications(model, 10) == 4 * (linear + 2 * 10 * 32)
    narrow(model, [0, 3], [[0]] * 2, [range(12)] * 2)
    assert multiplications(model, 10) == 2 * (4 * 32 * 8 + 2 * 32 * 12 + 2 * 10 * 8)


@pytest.mark.parametrize(("kind", "config"), [(BertModel, BertConfig), (XLMRobertaModel, XLMRobertaConfig)])
@pytest.mark.parametrize("network", [Encoder, CrossEncoder])
def test_a_narrowed_network_is_saved_and_loaded(tmp_path, kind, config, network):
    small(kind, config).save_pretrained(tmp_path / "base")
    made = network(str(tmp_path / "base")).eval()
    narrow(made.trunk, [0, 2], [[1, 3], [0, 2]], [range(10), range(20, 30)])
    made.save(tmp_path)
    loaded = network.load(tmp_path)
    assert shape_of(loaded.trunk) == Shape(2, 2, 10)
    more = (torch.zeros_like(IDS),) if network is CrossEncoder else ()
    with torch.inference_mode():
        one, other = (model(IDS, MASK, *more) for model in (made, loaded))
    torch.testing.assert_close(one, other)


def test_a_network_of_another_build_is_refused_by_name():
    sizes = {"vocab_size": 50, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48}
    with pytest.raises(ArtefactError, match=r"a distilbert model cannot be pruned here.*build with --no-students"):
        layers_of(DistilBertModel(DistilBertConfig(**sizes)))


def loss(model, sign: float = 1.0):
    return lambda: sign * model(input_ids=IDS, attention_mask=MASK).last_hidden_state[..., 0].sum()


class TestImportance:
    def test_finds_the_head_and_the_neurons_that_matter(self):
        model = small()
        for layer in layers_of(model):
            layer.attention.output.dense.weight.data[:, :24] = 0  # all heads but the last
            layer.output.dense.weight.data[:, 5:] = 0  # all neurons but the first five
        found = importance(model, [loss(model)])
        assert found.heads.shape == (4, 4)
        assert found.neurons.shape == (4, 48)
        assert (found.heads[:, 3] > 0).all()
        assert (found.heads[:, :3] == 0).all()
        assert (found.neurons[:, :5] > 0).all()
        assert (found.neurons[:, 5:] == 0).all()

    def test_is_the_mean_of_absolute_gradients(self):
        model = small()
        one, both = importance(model, [loss(model)]), importance(model, [loss(model), loss(model, -1.0)])
        torch.testing.assert_close(one.heads, both.heads)
        torch.testing.assert_close(one.neurons, both.neurons)

    def test_leaves_the_model_as_it_was(self):
        model = small()
        before = states(model)
        importance(model, [loss(model)])
        torch.testing.assert_close(states(model), before)
        assert all(parameter.grad is None for parameter in model.parameters())


class TestCut:
    WORTH = Importance(torch.arange(4.0).expand(4, 4), torch.arange(48.0).flip(0).expand(4, 48))

    def test_keeps_the_important_ones_and_layers_at_even_distances(self):
        model, whole = small(), small()
        cut(model, Shape(2, 2, 16), self.WORTH)
        first, last = layers_of(model)
        assert torch.equal(first.attention.self.query.weight, layers_of(whole)[0].attention.self.query.weight[16:])
        assert torch.equal(last.intermediate.dense.weight, layers_of(whole)[3].intermediate.dense.weight[:16])

    @pytest.mark.parametrize("shape", [Shape(5, 2, 16), Shape(2, 5, 16), Shape(2, 2, 49)])
    def test_more_than_there_is_is_refused(self, shape):
        with pytest.raises(ArtefactError, match="cannot be left of"):
            cut(small(), shape, self.WORTH)
