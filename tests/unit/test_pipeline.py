"""A pipeline in one process: wired by the ensemble's config, one snapshot for all steps, answers kept."""

from pathlib import Path

import numpy as np
import pytest

from build.evaluation.offline import Ensembles
from shelfbridge.contract import MODELS, QUERY, REQUEST, STEPS, USER, K
from shelfbridge.errors import ArtefactError, InvalidQuery
from shelfbridge.pipeline import Pipelines
from shelfbridge.steps import strings
from tests.functional import tiny


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_repository(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def pipelines(release: Path) -> Pipelines:
    return Pipelines(release, ["search", "search_deep"], result_cache=8)


def asked(query: str, **others: np.ndarray) -> dict[str, np.ndarray]:
    return {QUERY.name: strings([query]), **others}


def test_steps_run_in_the_order_of_the_contract(pipelines: Pipelines) -> None:
    for name in ("search", "search_deep"):
        assert tuple(wired.name for wired in pipelines[name].wiring) == STEPS[name]
        answer = pipelines[name].answer(asked("red running shoes"), pipelines.release.now())
        assert set(answer) == {tensor.name for tensor in MODELS[name].outputs}


def test_every_step_is_handed_the_same_snapshot(pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for wired in pipelines["search_deep"].wiring:
        run = wired.step.run
        monkeypatch.setattr(wired.step, "run", lambda arrays, now, run=run: (seen.append(now), run(arrays, now))[1])
    now = pipelines.release.now()
    pipelines["search_deep"].run(asked("a lamp"), now)
    assert len(seen) == len(STEPS["search_deep"])
    assert all(one is now for one in seen)


@pytest.mark.parametrize("query", ["red running shoes", "lamp", "mug zyntrax", "chair without wheels"])
def test_offline_evaluation_and_training_features_are_the_served_ones_to_the_bit(
    release: Path, pipelines: Pipelines, query: str
) -> None:
    offline = Ensembles.open(
        tokenizer=release / "preprocess/1",
        index=release / "retrieve/1",
        pieces=release / "shortlist/1",
        graph=release / "encoder/1",
        ranker_graph=release / "ranker/1",
        reader_graph=release / "cross_encoder/1",
    )
    served = pipelines["search_deep"].run(asked(query), pipelines.release.now())
    encoded = offline.retrieval.encode(query)
    found = offline.retrieval.candidates(encoded)
    first = {wired.name: wired.outputs for wired in pipelines["search_deep"].wiring}
    for step, tensor, ours in (
        ("preprocess", "input_ids", encoded.input_ids[0]),
        ("encoder", "embedding", encoded.embedding),
        ("encoder", "token_vectors", encoded.token_vectors[0]),
        ("retrieve", "candidate_rows", found.rows),
        ("retrieve", "signals", found.signals),
        ("retrieve", "candidate_tokens", found.tokens),
        ("retrieve", "candidate_cosines", found.cosines),
        ("ranker", "scores", offline.scores(encoded, found)),
    ):
        np.testing.assert_array_equal(served[first[step][tensor]], ours, err_msg=tensor)
    products = tiny.catalogue()
    rows, scores = offline.deep(query)
    answer = pipelines["search_deep"].answer(asked(query, k=np.array([100], np.int32)), pipelines.release.now())
    assert [one.decode() for one in answer["product_ids"]] == [products[row].product_id for row in rows]
    np.testing.assert_array_equal(answer["hit_scores"], scores)


def test_an_answer_is_found_again_by_what_the_request_means(pipelines: Pipelines) -> None:
    now, search = pipelines.release.now(), pipelines["search"]
    first = search.answer(asked("green lamp"), now)
    for same in (
        asked("green   lamp "),
        asked("green lamp", **{USER.name: strings(["u1"])}),
        asked("green lamp", **{K.name: np.array([10], np.int32)}),
    ):
        again = search.answer(same, now)
        assert not again["step_times"][1:].any()
        assert again["product_ids"] is first["product_ids"]
    other = search.answer(asked("green lamp", **{K.name: np.array([3], np.int32)}), now)
    assert other["step_times"][1:].all()


def test_what_is_kept_hides_no_bad_request(pipelines: Pipelines) -> None:
    now = pipelines.release.now()
    pipelines["search"].answer(asked("blue mug"), now)
    with pytest.raises(InvalidQuery, match="user is not UTF-8"):
        pipelines["search"].answer(asked("blue mug", **{USER.name: strings([b"\xff"])}), now)


def test_part_of_a_pipeline_goes_on_from_what_another_made(pipelines: Pipelines) -> None:
    now, search = pipelines.release.now(), pipelines["search"]
    whole = search.run(asked("camping tent"), now)
    half = search.run(asked("camping tent"), now, until=2)
    assert REQUEST.name in half
    assert "product_ids" not in half
    rest = search.run(half, now, since=2)
    np.testing.assert_array_equal(rest["hit_scores"], whole["hit_scores"])


def test_a_missing_step_is_named(release: Path, tmp_path: Path) -> None:
    for name in ("search", "manifest.json"):
        (tmp_path / name).symlink_to(release / name)
    with pytest.raises(ArtefactError, match=r"encoder.* is missing; build the release again"):
        Pipelines(tmp_path, ["search"])
