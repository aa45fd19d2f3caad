"""What a serving process does as generations of changes come and go, or cannot be read."""

import gc
import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from build.change import change
from build.engines.publishing import carry_changes
from build.release.later import asked_again
from build.release.publish import next_number
from shelfbridge import contract
from shelfbridge import release as release_module
from shelfbridge.catalogue import Product
from shelfbridge.changes import changes_beside, generation
from shelfbridge.errors import ArtefactError
from shelfbridge.pipeline import STEPS
from shelfbridge.release import UNREADABLE, Release
from shelfbridge.retrieval import ProductStore
from shelfbridge.retrieval.joined import Present
from tests.functional import tiny

ROWS = len(tuple(tiny.catalogue()))


def lamp(price: int) -> Product:
    return Product(product_id="new-1", title="black desk lamp zyntrax 7", brand="Dorado", category="Light", price=price)


def price(opened: Release) -> bytes:
    opened.refresh()
    return opened.now().store.payloads([ROWS])[0].split(b'"price":')[1][:1]


def spoil(release: Path) -> None:
    """Damage the newest generation."""
    (changes_beside(release) / "current/ids.npy").unlink()


def test_a_generation_that_is_past_holds_no_file(release):
    opened = Release.open(release, ["index"])
    held = []
    for number in range(4):
        change(release, upsert=[lamp(number)])
        opened.refresh()
        index = opened.now().index
        assert index.lexicon.words("zyntrax").wanted == ("zyntrax",)
        index.lexicon.later.numbers(["zyntrax"])
        del index
        gc.collect()
        held.append((len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count(".changes/")))
    assert held[3] == held[1]


def test_changes_that_could_not_be_read_are_tried_again(release, monkeypatch, caplog):
    store = Release.open(release, ["store"])
    change(release, upsert=[lamp(3)])
    assert price(store) == b"3"
    change(release, upsert=[lamp(4)])

    def full(folder: Path) -> ProductStore:
        raise MemoryError("no room")

    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr(release_module, "RETRY_S", 0.0)
        broken.setattr(ProductStore, "open", full)
        assert price(store) == b"3"
        assert price(store) == b"3"
        assert store.now().generation != generation(changes_beside(release))
        assert UNREADABLE.value == 1
    assert caplog.text.count("no room; requests go on with the changes before") == 1
    assert price(store) == b"4"
    assert store.now().generation == generation(changes_beside(release))
    assert UNREADABLE.value == 0


def test_a_request_keeps_its_snapshot_while_a_new_one_is_opened(release):
    opened = Release.open(release, ["index", "store", "pairs", "assortment"])
    change(release, upsert=[lamp(3)])
    opened.refresh()
    before = opened.now()
    change(release, upsert=[lamp(4)])
    opened.refresh()
    after = opened.now()
    for now, price in ((before, b"3"), (after, b"4")):
        assert now.store is now.assortment.store
        assert now.index.vectors is now.assortment.columns.vectors
        row = now.assortment.index_rows(np.array([now.assortment.row("new-1")]))
        assert price in now.store.payloads(row)[0]
    assert before.generation != after.generation


def test_a_thread_takes_up_what_is_new_within_a_second(release):
    opened = Release.open(release, ["store"])
    opened.watch()
    change(release, upsert=[lamp(3)])
    until = time.monotonic() + 1
    while opened.now().generation is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    opened.close()


def test_a_start_with_a_damaged_generation_takes_the_one_before(release, caplog):
    change(release, upsert=[lamp(3)])
    change(release, upsert=[lamp(4)])
    spoil(release)
    with caplog.at_level(logging.ERROR):
        opened = Release.open(release, ["store"])
    assert price(opened) == b"3"
    assert UNREADABLE.value == 1
    assert "is missing or incomplete" in caplog.text


def test_a_start_where_no_generation_can_be_read_takes_the_release(release):
    change(release, upsert=[lamp(3)])
    spoil(release)
    opened = Release.open(release, ["store"])
    assert opened.now().generation is None
    assert opened.now().store.ids([0]) == [next(iter(tiny.catalogue())).product_id]
    assert UNREADABLE.value == 1


@pytest.mark.parametrize("folder", ["", "retrieve/1"])
def test_a_release_of_another_contract_is_refused(release, folder, monkeypatch):
    monkeypatch.setattr(contract, "IDENTITY", "123456")
    with pytest.raises(ArtefactError, match=r"was made for contract .*and this code is of 123456; build the release"):
        Release.open(release / folder, ["index"])


def test_a_version_folder_holds_all_that_its_step_reads(release, tmp_path):
    """As where a model is loaded from a bucket, without those beside it."""
    for name, step in STEPS.items():
        if step.reads:
            shutil.copytree(release / name / "1", tmp_path / name / "1")
            opened = Release.open(tmp_path / name / "1", step.reads)
            assert set(opened.now().parts) == set(step.reads)
            shutil.rmtree(tmp_path / name)


def test_a_folder_in_place_of_the_link_is_not_taken_for_no_changes(release, caplog):
    store = Release.open(release, ["store"])
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
    for _ in range(2):  # the second time it is so already
        change(release, upsert=[lamp(3)])
    manifest = tmp_path / "2/manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    carry_changes(release, tmp_path / "2", tmp_path / "2.changes")
    assert price(Release.open(tmp_path / "2", ["store"])) == b"3"
    assert asked_again(tmp_path / "2.changes") == asked_again(changes_beside(release)) != {}


def test_what_is_left_is_looked_for_where_a_scan_finds_few_and_all_are_gone():
    present = Present(np.array([False, False, True]), np.zeros(0, bool))

    def scan(depth: int, allowed: np.ndarray | None) -> np.ndarray:
        return np.array([0, 1]) if allowed is None else np.flatnonzero(allowed)

    assert present.find_in_base(scan, 10, None).tolist() == [2]
