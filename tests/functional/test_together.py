"""The steps of an ensemble in one process answer what they answer apart, to the last bit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings, ServerError
from shelfbridge.contract import STEPS
from tests.functional.conftest import GOOD
from tests.functional.wire import Answer, Wire, any_message

MakeSettings = Callable[..., EmbeddedSettings]
QUERIES = (*GOOD, ("chair without wheels", {}), ("sheos", {"k": 100}), ("blue", {"with_payload": True}))


def answers(settings: EmbeddedSettings) -> list[Answer]:
    with EmbeddedServer(settings) as server:
        wire = Wire(server.address)
        found = [wire.send(any_message(model, query, **options)) for model in STEPS for query, options in QUERIES]
        wire.close()
    return found


def test_same_answers(repository: Path, make_settings: MakeSettings) -> None:
    together, apart = (
        answers(make_settings(repository, steps).model_copy(update={"query_cache": kept}))
        for steps, kept in (("together", 16), ("apart", 0))
    )
    for found, wanted in zip(together, apart, strict=True):
        assert (found.ids, found.scores, found.payload) == (wanted.ids, wanted.scores, wanted.payload)


def test_an_ensemble_without_one_of_its_steps_is_named(
    repository: Path, make_settings: MakeSettings, tmp_path: Path
) -> None:
    ensemble = tmp_path / "search"
    (ensemble / "1").mkdir(parents=True)
    (ensemble / "config.pbtxt").write_text((repository / "search/config.pbtxt").read_text())
    shutil.copy(repository / "manifest.json", tmp_path)
    with pytest.raises(ServerError, match=r"model pipelines: .*encoder.* is missing; build the release again"):
        EmbeddedServer(make_settings(tmp_path)).up()


def test_a_repeated_search_is_answered_from_the_cache(repository: Path, make_settings: MakeSettings) -> None:
    with EmbeddedServer(make_settings(repository).model_copy(update={"processes": 1})) as server:
        wire = Wire(server.address)
        first, again = (wire.search("red running shoes", with_payload=True) for _ in range(2))
        other = wire.search("red running shoes", with_payload=True, filters='{"in_stock": true}')
        wire.close()
    assert (again.ids, again.scores, again.payload) == (first.ids, first.scores, first.payload)
    assert not any(again.step_times[1:])
    assert all(first.step_times)
    assert all(other.step_times)
