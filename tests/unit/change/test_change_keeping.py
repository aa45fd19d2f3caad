"""How changes are kept: one after the other, whole or not at all, refused where they cannot be used."""

import fcntl
import logging
import os
import shutil
import threading

import numpy as np
import pytest

from build import change as changing
from build.change import change, status
from build.release.publish import PRODUCT_ENCODER
from shelfbridge.changes import changes_beside, generation
from shelfbridge.errors import ArtefactError, DataError
from tests.unit.change.changed_shop import BASE, LAMP, SHOES, Shop, with_title


def test_an_interrupted_change_leaves_the_earlier_one(shop, release, monkeypatch):
    change(release, upsert=[LAMP])
    with monkeypatch.context() as patch:
        patch.setattr(changing, "write_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            change(release, delete=["new-1"])
    left = changes_beside(release) / ".unfinished-killed"
    left.mkdir()
    assert shop.found("zyntrax")[0] == "new-1"
    change(release, delete=["new-1"])
    assert "new-1" not in shop.found("zyntrax")
    assert not left.exists()


def test_a_change_waits_for_the_one_before_it(release):
    changes = changes_beside(release)
    changes.mkdir()
    with (changes / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=change, args=(release,), kwargs={"upsert": [LAMP]})
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert generation(changes) is None
    second.join()
    assert generation(changes) is not None


def test_many_changers_lose_nothing(shop, release):
    products = [with_title(LAMP, f"lamp {n}").model_copy(update={"product_id": f"new-{n}"}) for n in range(6)]
    threads = [threading.Thread(target=change, args=(release,), kwargs={"upsert": [one]}) for one in products]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.product_id for one in products} <= set(shop.found("lamp 5"))


def test_old_generations_go_but_for_the_last(release):
    for price in range(4):
        change(release, upsert=[LAMP.model_copy(update={"price": price})])
    kept = sorted(path.name.split("-")[0] for path in changes_beside(release).iterdir() if path.name[0].isdigit())
    assert kept == ["3", "4"]


def test_changes_made_anew_are_not_taken_for_the_earlier_ones(shop, release):
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax")[0] == "new-1"
    shutil.rmtree(changes_beside(release))
    change(release, delete=[SHOES.product_id])
    assert "new-1" not in shop.found("zyntrax")


def test_without_its_changes_a_release_is_as_it_was(shop, release):
    before = shop.candidates("zyntrax lamp")
    change(release, upsert=[LAMP])
    shop.found("zyntrax")
    shutil.rmtree(changes_beside(release))
    after = shop.candidates("zyntrax lamp")
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.signals, before.signals)


@pytest.mark.parametrize("file", ["tokens.npy", "lexicon/fields/idf.npy", "changes.json"])
def test_damaged_changes_are_named_with_the_cure(shop, release, file, caplog):
    change(release, upsert=[LAMP])
    assert shop.found("zyntrax")[0] == "new-1"
    change(release, delete=["new-1"])
    damaged = changes_beside(release) / str(generation(changes_beside(release))) / file
    os.truncate(damaged, damaged.stat().st_size // 2)
    message = rf"{file}.*; delete .*1\.changes and make the changes again"
    with caplog.at_level(logging.ERROR):
        assert shop.found("zyntrax")[0] == "new-1"
        shop.found("zyntrax")
    assert [record.getMessage() for record in caplog.records if file in record.getMessage()]
    assert len(caplog.records) == 1
    assert Shop(release).found("zyntrax")[0] == "new-1"  # a process that starts now, too
    for reading in (status, lambda folder: change(folder, delete=["new-1"])):
        with pytest.raises(ArtefactError, match=message):
            reading(release)


def test_changes_of_another_release_are_not_taken_up(release, caplog):
    change(release, upsert=[LAMP])
    (release / "manifest.json").write_text((release / "manifest.json").read_text() + "\n")
    with caplog.at_level(logging.ERROR):
        assert "new-1" not in Shop(release).found("zyntrax")
    assert "was not made for" in caplog.text
    with pytest.raises(ArtefactError, match=r"was not made for .*; delete"):
        change(release, delete=["new-1"])


def test_too_many_changes_ask_for_a_new_release(release, monkeypatch):
    monkeypatch.setattr(changing, "LIMIT", 1)
    with pytest.raises(DataError, match=r"2 products differ .*; build a new release"):
        change(release, upsert=BASE[:2])
    assert generation(changes_beside(release)) is None


def test_a_release_of_an_older_build_is_refused(release):
    (release / PRODUCT_ENCODER).unlink()
    with pytest.raises(ArtefactError, match=rf"{PRODUCT_ENCODER} is missing; build the release again"):
        change(release, upsert=[LAMP])
    (release / "postprocess/1/ids.digests.npy").unlink()
    with pytest.raises(ArtefactError, match=r"ids.digests.npy.*build the release again"):
        change(release, delete=["x"])


def test_the_command_line_changes_and_tells(release, tmp_path, monkeypatch, capsys):
    file = tmp_path / "new.jsonl"
    file.write_text(LAMP.model_dump_json() + '\n{"product_id": "bad"}\n')

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["change", "--release", str(release), *arguments])
        changing.main()
        return capsys.readouterr().out

    told = run("upsert", str(file))
    assert "1 row was left out" in told
    assert "1 added, 0 replaced, 0 deleted" in told
    assert "not in the catalogue: nobody" in run("delete", "new-1", "nobody")
    assert "0 added, 0 replaced, 0 deleted" in run("status")
    with pytest.raises(SystemExit, match=r"error: .*no such file"):
        run("upsert", str(tmp_path / "missing.jsonl"))
