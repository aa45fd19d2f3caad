"""What a serving process does as generations of changes come and go, or cannot be read."""

import gc
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from build.change import change
from build.engines.publishing import carry_changes
from build.release import next_number
from shelfbridge.catalogue import Product
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import CandidateIndex, Changing, ProductStore, changes
from shelfbridge.retrieval.changes import changes_beside, generation
from shelfbridge.retrieval.joined import Present
from tests.functional import tiny

ROWS = len(tuple(tiny.catalogue()))


def lamp(price: int) -> Product:
    return Product(product_id="new-1", title="black desk lamp zyntrax 7", brand="Dorado", category="Light", price=price)


def price(store: Changing[ProductStore]) -> bytes:
    return store.now().payloads([ROWS])[0].split(b'"price":')[1][:1]


def test_a_generation_that_is_past_holds_no_file(release):
    index = Changing(CandidateIndex, release / "retrieve/1")
    held = []
    for number in range(4):
        change(release, upsert=[lamp(number)])
        assert index.now().lexicon.words("zyntrax").wanted == ("zyntrax",)
        index.now().lexicon.later.numbers(["zyntrax"])
        gc.collect()
        held.append((len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count(".changes/")))
    assert held[3] == held[1]


def test_changes_that_could_not_be_read_are_tried_again(release, monkeypatch, caplog):
    store = Changing(ProductStore, release / "postprocess/1")
    change(release, upsert=[lamp(3)])
    assert price(store) == b"3"
    change(release, upsert=[lamp(4)])

    def full(folder: Path) -> ProductStore:
        raise MemoryError("no room")

    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr(changes, "RETRY", 0.0)
        broken.setattr(ProductStore, "open", full)
        assert price(store) == b"3"
        assert store.generation() != generation(changes_beside(release))
    assert "no room; searches go on without the newest changes" in caplog.text
    assert price(store) == b"4"
    assert store.generation() == generation(changes_beside(release))


def test_a_folder_in_place_of_the_link_is_not_taken_for_no_changes(release, caplog):
    store = Changing(ProductStore, release / "postprocess/1")
    change(release, upsert=[lamp(3)])
    assert price(store) == b"3"
    link = changes_beside(release) / "current"
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)
    with caplog.at_level(logging.ERROR):
        assert price(store) == b"3"
    assert "cannot be read as a link" in caplog.text
    with pytest.raises(ArtefactError, match="cannot be read as a link"):
        change(release, upsert=[lamp(4)])


def test_a_change_of_nothing_makes_no_generation(release):
    change(release, upsert=[lamp(3)])
    before = generation(changes_beside(release))
    change(release, upsert=[lamp(3)])
    assert change(release, delete=["nobody"]) == ["nobody"]
    assert generation(changes_beside(release)) == before


def test_a_number_whose_changes_are_left_is_not_given_again(release, tmp_path):
    change(release, upsert=[lamp(3)])
    shutil.rmtree(release)
    assert next_number(tmp_path) == 2


def test_a_release_of_the_same_rows_takes_the_changes_over(release, tmp_path):
    shutil.copytree(release, tmp_path / "2")
    carry_changes(release, tmp_path / "2", tmp_path / "2.changes")
    assert not (tmp_path / "2.changes").exists()
    change(release, upsert=[lamp(3)])
    manifest = tmp_path / "2/manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    carry_changes(release, tmp_path / "2", tmp_path / "2.changes")
    assert price(Changing(ProductStore, tmp_path / "2/postprocess/1")) == b"3"


def test_what_is_left_is_looked_for_where_a_scan_finds_few_and_all_are_gone():
    present = Present(np.array([False, False, True]), np.zeros(0, bool))

    def scan(depth: int, allowed: np.ndarray | None) -> np.ndarray:
        return np.array([0, 1]) if allowed is None else np.flatnonzero(allowed)

    assert present.find_in_base(scan, 10, None).tolist() == [2]
