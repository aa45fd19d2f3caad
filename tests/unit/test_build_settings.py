"""What a build is told: by a preset, a file, the environment and flags, of which the later win."""

import argparse
from pathlib import Path

import pytest

from build import inputs
from build.inputs import add_arguments, chosen
from build.settings import FOLDER, PRESETS, given, preset
from shelfbridge.errors import SettingsError
from shelfbridge.retrieval.vectors import MILVUS_URI

FILES = {"catalogue": "products.jsonl", "judgments": "judgments.tsv", "out": "out"}


def told(*arguments: str):
    """What a command line gives."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return chosen(parser.parse_args(list(arguments)))


@pytest.fixture
def file(tmp_path) -> Path:
    """A user's file."""
    path = tmp_path / "build.toml"
    path.write_text(
        'catalogue = "shop.parquet"\njudgments = "judged.tsv"\nout = "made"\nencoder_student = "none"\n'
        "[encoder]\njudged = 99999\n[encoder.training]\nepochs = 7\n[compression]\nbudget = 0.5\n"
    )
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_file(name):
    assert (FOLDER / f"{name}.toml").is_file()
    assert given(name, None, FILES).settings == preset(name)


def test_a_file_wins_over_the_preset_entry_by_entry(file):
    found, before = told("--settings", str(file)).settings, preset("full")
    assert (found.encoder.judged, found.encoder.training.epochs) == (99999, 7)
    assert found.encoder.training.batch == before.encoder.training.batch
    assert found.encoder.synthetic == before.encoder.synthetic
    assert found.encoder_student is None
    assert found.cross_encoder_student == before.cross_encoder_student


def test_the_environment_wins_over_the_file_and_flags_over_both(file, monkeypatch):
    monkeypatch.setenv("SHELFBRIDGE_BUILD_ENCODER__TRAINING__EPOCHS", "9")
    monkeypatch.setenv("SHELFBRIDGE_BUILD_COMPRESSION__BUDGET", "0.25")
    found = told("--settings", str(file), "--budget", "0.125", "--out", "elsewhere")
    assert (found.encoder.judged, found.encoder.training.epochs) == (99999, 9)
    assert found.compression.budget == 0.125
    assert (found.catalogue, found.out) == (Path("shop.parquet"), Path("elsewhere"))


def test_flags_are_entries_of_the_same_settings():
    arguments = [text for name, value in FILES.items() for text in (f"--{name}", value)]
    arguments += [
        "--encoder",
        "base",
        "--ranker",
        "other",
        "--weeks",
        "2",
        "--precision",
        "fp32",
        "--vectors",
        "milvus",
    ]
    found = told(*arguments, "--no-students").settings
    assert (found.base, found.teacher, found.shelf.weeks, found.vectors) == ("base", "other", 2, "milvus")
    assert found.compression == type(found.compression)(precision="fp32", insisted=True, queries=150)
    assert not told(*arguments[:6]).settings.compression.insisted
    assert found.encoder_student is found.cross_encoder_student is None
    assert told(*arguments[:6]).settings == preset("full")


def test_another_address_of_milvus_is_another_place(monkeypatch):
    """An index that says unchanged would name the Milvus of before."""
    monkeypatch.setattr(inputs, "find_spec", lambda _: True)
    monkeypatch.delenv(MILVUS_URI, raising=False)
    with pytest.raises(SettingsError, match=f"{MILVUS_URI} is not set"):
        inputs.place_of("milvus")
    for address in ("http://one:19530", "http://two:19530", "lite.db"):
        monkeypatch.setenv(MILVUS_URI, address)
        assert inputs.place_of("milvus") == address == inputs.place_of(address)
    assert (inputs.place_of("faiss"), inputs.MILVUS_URI) == ("faiss", MILVUS_URI)
    monkeypatch.setattr(inputs, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="pip install pymilvus"):
        inputs.place_of("milvus")


def test_a_large_shop_is_given_what_it_asks_for(tmp_path):
    path = tmp_path / "build.toml"
    path.write_text("[encoder]\njudged = 10_000_000\n[ranker]\nteacher_queries = 100_000\n[index]\nbatch = 4096\n")
    found = given("full", path, FILES).settings
    assert (found.encoder.judged, found.ranker.teacher_queries, found.index.batch) == (10_000_000, 100_000, 4096)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[encoder]\njuged = 5\n", r"encoder\.juged: Unexpected keyword argument"),
        ("catalog = 'x'\n", "catalog: Extra inputs are not permitted"),
        ("[encoder]\njudged = 'many'\n", r"encoder\.judged: Input should be a valid integer"),
        ("[index]\nbatch = 0\n", r"index\.batch: Input should be greater than or equal to 1"),
        ("[index]\nlikely = 0\n", r"index\.likely: Input should be greater"),
        ("[opinions]\nunseen = 0\n", r"opinions\.unseen: Input should be greater than or equal to 2"),
        ("[opinions]\nunseen = 1\n", r"opinions\.unseen: Input should be greater than or equal to 2"),
        ("[compression]\nmethods = []\n", r"compression\.methods: Tuple should have at least 1 item"),
        ("[compression]\nqueries = 0\n", r"compression\.queries: Input should be greater"),
        ("[compression]\nbudget = nan\n", r"compression\.budget: Input should be"),
        ("[encoder.training]\naccumulation = 0\n", r"encoder\.training\.accumulation: Input should be greater"),
        ("[encoder.training]\nbatch = -1\n", r"encoder\.training\.batch: Input should be greater"),
        ("[cross_encoder.training]\nlearning_rate = inf\n", r"learning_rate: Input should be a finite number"),
        ("[encoder\n", r"Expected '\]'"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_file(tmp_path, text, words):
    path = tmp_path / "build.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"{words}.*see to .*build.toml"):
        given("full", path, FILES)
