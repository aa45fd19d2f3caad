"""A model's config matches its engine: profiles, warmups, CUDA graphs."""

import shutil
from collections import Counter

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.engines.buckets import profiles, usual_lengths
from build.engines.configs import CONTEXT_MEMORY, GRAPH_CHANCE, GRAPHS, adapt, max_batch
from build.release.publish import SOURCES
from shelfbridge.contract import MODELS
from shelfbridge.lengths import padded
from shelfbridge.wordpieces import WordPieces
from tests.functional import tiny
from tests.unit.engine_samples import LENGTHS, NETWORKS


class TestConfigs:
    @pytest.fixture(params=NETWORKS)
    def adapted(self, request, tmp_path):
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / request.param / "config.pbtxt", config)
        made = profiles(MODELS[request.param], LENGTHS, max_batch(config))
        adapt(config, made, LENGTHS)
        return MODELS[request.param], made, text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())

    def test_every_profile_is_named(self, adapted):
        _, made, config = adapted
        assert config.instance_group
        for group in config.instance_group:
            assert list(group.profile) == [str(number) for number in range(len(made))]

    def test_every_profile_is_warmed_at_what_it_is_tuned_for(self, adapted):
        model, made, config = adapted
        assert len(config.model_warmup) == len(made)
        for warmup, profile in zip(config.model_warmup, made, strict=True):
            assert set(warmup.inputs) == {tensor.name for tensor in model.inputs}
            for tensor in model.inputs:
                given = warmup.inputs[tensor.name]
                assert (warmup.batch_size, *given.dims) == profile[tensor.name].opt
                assert model_config_pb2.DataType.Name(given.data_type) == f"TYPE_{tensor.dtype}"
                assert given.zero_data

    def test_graphs_are_captured_for_the_likeliest_shapes_alone(self, adapted):
        model, made, config = adapted
        wanted = [chosen for chance, chosen in usual_lengths(model, LENGTHS) if chance >= GRAPH_CHANCE][:GRAPHS]
        specs = config.optimization.cuda.graph_spec
        assert wanted
        assert config.optimization.cuda.graphs
        assert len(specs) == len(wanted)
        for spec, chosen in zip(specs, wanted, strict=True):
            assert spec.batch_size == 1
            assert not spec.HasField("graph_lower_bound")
            assert set(spec.input) == {tensor.name for tensor in model.inputs}
            free = [
                dim
                for t in model.inputs
                for have, dim in zip(t.dims, spec.input[t.name].dim, strict=True)
                if have == -1
            ]
            assert set(free) == set(chosen.values())
            assert [all(p[t.name].admits((1, *spec.input[t.name].dim)) for t in model.inputs) for p in made].count(
                True
            ) == 1

    def test_no_graph_where_no_shape_is_likely(self, tmp_path):
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / "encoder/config.pbtxt", config)
        spread = {**LENGTHS, "query": dict.fromkeys(range(1, 65), 1)}
        adapt(config, profiles(MODELS["encoder"], spread, 64), spread)
        parsed = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())
        assert not parsed.optimization.cuda.graphs

    def test_the_response_cache_of_an_older_release_goes(self, tmp_path):
        config = tmp_path / "config.pbtxt"
        plain = (SOURCES / "encoder/config.pbtxt").read_text()
        config.write_text(plain + "response_cache { enable: true }\n")
        adapt(config, profiles(MODELS["encoder"], LENGTHS, 64), LENGTHS)
        assert "response_cache" not in config.read_text()

    def test_graphs_answer_what_is_served(self, tmp_path):
        """Triton replays a graph for exactly its shape. Those for lengths as tokenised, not as sent, never fired."""
        texts = ["red tent", "a", "green garden hose for rent", "usb cable", "camping tent red blue"]
        texts += [f"{one} {two}" for one in texts for two in texts]
        tiny.write_repository(tmp_path / "repository")
        words = WordPieces(tmp_path / "repository/preprocess/1/tokenizer.json")
        sent = [padded(words.queries([text])[0][0]).shape for text in texts]
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / "encoder/config.pbtxt", config)
        lengths = {**LENGTHS, "query": Counter(length for (length,) in sent)}
        adapt(config, profiles(MODELS["encoder"], lengths, 64), lengths)
        specs = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig()).optimization.cuda.graph_spec
        shapes = {tuple(spec.input["input_ids"].dim) for spec in specs}
        assert shapes <= set(sent)
        assert sum(shape in shapes for shape in sent) > 0.9 * len(sent)

    def test_contexts_take_the_memory_of_their_own_profile(self, adapted):
        assert adapted[2].parameters[CONTEXT_MEMORY].string_value == "ON_PROFILE_CHANGE"

    def test_all_else_stays_as_it_was(self, adapted):
        model, _, config = adapted
        plain = text_format.Parse((SOURCES / model.name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        for one in (plain, config):
            for field in ("model_warmup", "optimization", "parameters"):
                one.ClearField(field)
            for group in one.instance_group:
                group.ClearField("profile")
        assert plain == config

    def test_there_are_few_graphs_however_many_lengths_are_likely(self, tmp_path):
        config = tmp_path / "config.pbtxt"
        shutil.copy(SOURCES / "encoder/config.pbtxt", config)
        many = {**LENGTHS, "query": dict.fromkeys(range(3, 23), 1)}
        adapt(config, profiles(MODELS["encoder"], many, 64), many)
        text = config.read_text()
        parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
        assert len(parsed.optimization.cuda.graph_spec) == GRAPHS <= 6
        assert "these\n# lines are harmless" in text
