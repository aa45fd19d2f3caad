"""What is changed of a served release while the next is made is changed of that one too, when it goes live."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from build import change as changing
from build.change import change, check_served, status
from build.release import live
from build.release import publish as release
from build.release.later import Later, Release
from build.release.live import carried
from shelfbridge.errors import ArtefactError, DataError
from tests.functional.tiny_release import publish_tiny
from tests.unit.change.changed_shop import BASE, LAMP, SHOES
from tests.unit.scripted_server import Server, pb, serve


@pytest.fixture
def releases(original: Path, tmp_path: Path) -> Path:
    """A folder of releases, the first of which is current."""
    shutil.copytree(original.parent, tmp_path / "releases", symlinks=True)
    return tmp_path / "releases"


def again(releases: Path, since: float | None) -> Path:
    """The next release, of the same catalogue in another order, so that no row is what it was."""
    shutil.rmtree(releases.parent / "next", ignore_errors=True)
    return publish_tiny(releases.parent / "next", releases, backwards=True, since=since)


def sold(folder: Path) -> dict[str, float | None]:
    """Prices of what was added or changed, by id."""
    opened = Release.open(folder)
    later, base = Later.read(opened), len(opened.numbers())
    return {one.product_id: one.price for row, one in enumerate(later.products) if base + row not in later.gone}


def test_changes_after_the_catalogue_was_written_are_in_the_next_release(releases):
    change(releases / "current", upsert=[LAMP, BASE[1].model_copy(update={"price": 1.25})])
    written = time.time()
    change(releases / "current", upsert=[LAMP.model_copy(update={"price": 4})], delete=[SHOES.product_id])
    made = again(releases, written)
    assert made.name == "2"
    assert (releases / "current").readlink() == Path("2")
    assert sold(made) == {"new-1": 4}
    told = status(releases / "current")
    assert (told.added, told.replaced, told.deleted) == (1, 0, 1)
    assert change(made, delete=[SHOES.product_id]) == [SHOES.product_id]  # gone already


def test_changes_before_the_catalogue_was_written_are_left_to_it(releases):
    change(releases / "current", upsert=[LAMP])
    assert status(again(releases, time.time())).generation is None


@pytest.mark.parametrize("again_so", [{"upsert": [LAMP]}, {"delete": [SHOES.product_id]}])
def test_what_is_changed_once_more_as_it_is_already_is_carried_too(releases, again_so):
    """By a job that sends what it knows again and again, while the catalogue was written from an older copy."""
    change(releases / "current", upsert=[LAMP], delete=[SHOES.product_id])
    written = time.time()
    change(releases / "current", **again_so)
    assert status(again(releases, written)).generation is not None


def test_a_catalogue_written_later_undoes_changes_though_it_says_what_the_release_says(releases):
    """A product deleted by mistake comes back by a build of the same catalogue, exported once more."""
    written = time.time()
    first = again(releases, written)
    change(first, delete=[SHOES.product_id])
    assert again(releases, written) == first  # what is later than the catalogue stays
    assert status(first).deleted == 1
    second = again(releases, time.time())
    assert (second.name, status(second).generation) == ("3", None)
    assert again(releases, time.time()) == second


def test_a_carried_change_keeps_its_time(releases):
    written = time.time()
    change(releases / "current", upsert=[LAMP])
    changed = time.time()
    made = again(releases, written)
    assert written <= Later.read(Release.open(made)).times["new-1"] <= changed


def test_changes_of_an_older_program_are_carried_over_too(releases):
    change(releases / "current", upsert=[LAMP], delete=[SHOES.product_id])
    for file in (releases / "1.changes").glob("*/times.json"):
        record = file.with_name("changes.json")
        record.write_text(record.read_text().replace(f'"times.json": {file.stat().st_size},', ""))
        file.unlink()
    later = Later.read(Release.open(releases / "current"))
    assert later.times.keys() == {"new-1", SHOES.product_id}


def test_a_change_made_in_the_last_moment_is_in_the_release_that_goes_live(releases, monkeypatch):
    """It asks while the link is about to move, waits, and is made of the release that the link names then."""
    waiting = threading.Thread(target=change, args=(releases / "current",), kwargs={"upsert": [LAMP]})
    make_current = release.make_current

    def slowly(*arguments):
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        return make_current(*arguments)

    monkeypatch.setattr(release, "make_current", slowly)
    made = again(releases, time.time())
    waiting.join()
    assert sold(made) == {"new-1": 3}
    assert status(releases / "1").generation is None


def test_what_is_changed_while_others_are_carried_is_not_lost(releases, tmp_path, monkeypatch):
    folder = tmp_path / "releases" / ".unfinished-new"
    shutil.copytree(releases / "1", folder)
    repeat, runs = live._repeat, []

    def with_another(source, target, since):
        repeat(source, target, since)
        runs.append(1)
        if len(runs) == 1:
            change(source.folder, upsert=[LAMP])

    monkeypatch.setattr(live, "_repeat", with_another)
    with carried(releases / "current", folder, 0.0):
        assert sold(folder) == {"new-1": 3}


def test_too_many_changes_leave_what_is_live(releases, monkeypatch):
    change(releases / "current", upsert=BASE[:2], delete=[])
    change(releases / "current", upsert=[LAMP])
    monkeypatch.setattr(live, "LIMIT", 0)
    with pytest.raises(DataError, match="were changed since the catalogue was written, and 0 may; write the catalogue"):
        again(releases, 0.0)
    assert (releases / "current").readlink() == Path("1")
    assert not list(releases.glob(".unfinished-*"))


def test_a_failure_while_it_goes_live_leaves_the_changes_where_they_were(releases, monkeypatch):
    change(releases / "current", upsert=[LAMP])

    def fails(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(release, "make_current", fails)
    with pytest.raises(OSError, match="no space left"):
        again(releases, 0.0)
    assert sold(releases / "current") == {"new-1": 3}
    assert not list(releases.glob(".unfinished-*"))


class TestServed:
    @pytest.fixture
    def answer(self) -> pb.ModelMetadataResponse:
        """What the server says of its search."""
        return pb.ModelMetadataResponse(name="search", versions=["1"])

    @pytest.fixture
    def server(self, answer, monkeypatch):
        monkeypatch.setattr(Server, "ModelMetadata", lambda *_: answer)
        with serve() as server:
            yield server

    def run(self, monkeypatch, capsys, folder: Path, address: str) -> str:
        monkeypatch.setattr(
            "sys.argv", ["change", "--release", str(folder), "--server", address, "delete", SHOES.product_id]
        )
        changing.main()
        return capsys.readouterr().out

    def test_a_change_of_what_is_served_says_so(self, release, server, monkeypatch, capsys):
        assert "release 1 is as asked after" in (told := self.run(monkeypatch, capsys, release, server.address))
        assert f"the server at {server.address} serves release 1" in told

    def test_a_change_that_the_server_would_not_see_is_refused(self, releases, server, monkeypatch, capsys):
        again(releases, None)
        with pytest.raises(SystemExit, match=r"serves release 1, not 2 .*--release \S*/releases/1"):
            self.run(monkeypatch, capsys, releases / "current", server.address)
        assert status(releases / "current").generation is None
        assert "release 2 is as asked" in self.run(monkeypatch, capsys, releases / "current", "none")

    def test_without_a_server_that_is_told(self, release):
        told = check_served(Release.open(release), "localhost:9")
        assert told == "no server answers at localhost:9, so whether release 1 is served was not seen"

    def test_a_server_without_a_release_would_not_see_it(self, release, server, answer):
        del answer.versions[:]
        with pytest.raises(ArtefactError, match="serves release none, not 1"):
            check_served(Release.open(release), server.address)
