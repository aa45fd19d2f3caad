"""A file of a release that is damaged, half written or another release's is named when the release is opened."""

import logging
import os
import shutil
import time
from pathlib import Path

import pytest

from build.change import change
from shelfbridge.changes import changes_beside, generation, kept
from shelfbridge.contract import IDENTITY_FILE
from shelfbridge.errors import ArtefactError
from shelfbridge.pipeline import STEPS, Pipelines, reads_of
from shelfbridge.release import UNREADABLE, Release
from tests.functional import tiny

CONFIGS = [f"{model}/configs/cpu.pbtxt" for model in ("encoder", "ranker", "cross_encoder", "user_encoder")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return tiny.write_repository(tmp_path_factory.mktemp("releases") / "1")


@pytest.fixture
def release(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "1", copy_function=os.link)
    return tmp_path / "1"


@pytest.fixture(scope="module")
def shorter(tmp_path_factory) -> Path:
    """A release of a part of the products."""
    with pytest.MonkeyPatch.context() as patch:
        products = tiny.catalogue()[:100]
        patch.setattr(tiny, "catalogue", lambda: products)
        return tiny.write_repository(tmp_path_factory.mktemp("shorter") / "1")


def replace(file: Path, content: bytes) -> None:
    file.unlink()  # others share it
    file.write_bytes(content)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_half_a_file_is_named(release, share):
    models = [model for model, step in STEPS.items() if step.reads]
    files = [file for model in models for file in sorted((release / model / "1").rglob("*")) if file.is_file()]
    reads = reads_of(STEPS)
    for file in files:
        if file.suffix not in (".npy", ".npz", ".faiss", ".json"):
            continue
        content = file.read_bytes()
        replace(file, content[: int(len(content) * share)])
        model = file.relative_to(release).parts[0]
        words = file.name.endswith((".digests.npy", ".numbers.npy")) and file.parent.name == "1"  # of shelves alone
        part = reads if words else STEPS[model].reads
        if not words or model in ("profile", "shelf", "shelf_candidates", "taste"):
            with pytest.raises(ArtefactError, match="build"):
                Release.open(release / model / "1", part)
        replace(file, content)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"another", b"\n"])
def test_a_record_of_the_contract_that_is_none(release, content):
    replace(release / "retrieve/1" / IDENTITY_FILE, content)
    with pytest.raises(ArtefactError, match="was made for contract"):
        Release.open(release / "retrieve/1", ["index"])


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"release": 1', b"\xff", b'"release"'])
def test_a_manifest_that_is_none(release, content):
    replace(release / "manifest.json", content)
    with pytest.raises(ArtefactError, match="is not a release"):
        Pipelines(release)


@pytest.mark.parametrize("file", [*CONFIGS, "search/config.pbtxt"])
def test_a_config_without_its_tensors(release, file):
    first, platform = (release / file).read_text().splitlines()[0], 'platform: "ensemble"'
    for content in ("", first, platform):
        replace(release / file, content.encode())
        with pytest.raises(ArtefactError, match=r"does not name .*build the release again"):
            Pipelines(release)


@pytest.mark.parametrize("model", ["retrieve", "shortlist", "postprocess", "shelf_candidates"])
def test_files_of_another_release(release, shorter, model):
    shutil.rmtree(release / model / "1")
    shutil.copytree(shorter / model / "1", release / model / "1")
    with pytest.raises(ArtefactError, match="they hold different products"):
        Pipelines(release)


@pytest.mark.parametrize("name", ["facets/price.npy", "facets/stock.npy", "vectors.faiss", "lexicon/statics.npy"])
def test_a_file_of_another_release_in_a_step(release, shorter, name):
    replace(release / "retrieve/1" / name, (shorter / "retrieve/1" / name).read_bytes())
    with pytest.raises(ArtefactError, match="they hold different products"):
        Release.open(release / "retrieve/1", ["index"])


class TestTheLinkOfChanges:
    @pytest.fixture
    def changes(self, release) -> Path:
        change(release, delete=[tiny.catalogue()[0].product_id])
        return changes_beside(release)

    @pytest.mark.parametrize("target", ["{changes}/{name}", "{changes}/{name}/", "./{name}", "{name}//"])
    def test_an_operator_may_write_it_otherwise(self, release, changes, target):
        (name,) = kept(changes)
        (changes / "current").unlink()
        (changes / "current").symlink_to(target.format(changes=changes, name=name))
        assert generation(changes) == name
        assert Release.open(release, ["store"]).now().generation == name

    @pytest.mark.parametrize("target", ["nonsense", "..", "/", "7", "x-1", "-", "٣-a"])
    def test_what_is_no_generation_leaves_the_last_good_one(self, release, changes, target, caplog):
        (name,) = kept(changes)
        opened = Release.open(release, ["store"])
        (changes / "current").unlink()
        (changes / "current").symlink_to(target)
        with caplog.at_level(logging.ERROR):
            opened.refresh()
        assert opened.now().generation == Release.open(release, ["store"]).now().generation == name
        assert UNREADABLE.value == 1
        assert "which is no generation; link it" in caplog.text


def test_the_thread_outlives_what_it_calls(release, caplog):
    opened = Release.open(release, ["store"])

    def fails() -> None:
        raise ValueError("the server is away")

    opened.watch(fails)
    change(release, delete=[tiny.catalogue()[0].product_id])
    until = time.monotonic() + 5
    while opened.now().generation is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    opened.close()
    assert "the thread that looks for changes goes on" in caplog.text
