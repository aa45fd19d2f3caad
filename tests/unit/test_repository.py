"""What a server loads of a release: linked files, and configs as the settings say."""

from pathlib import Path

import pytest

from deploy.repository import PIPELINES, Serving, write
from shelfbridge import configs
from shelfbridge.errors import ArtefactError, PrerequisiteError
from tests.functional import tiny


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_repository(tmp_path_factory.mktemp("release"))


def config(models: Path, name: str, file: str = configs.NAME):
    return configs.read(models / name / file)


@pytest.fixture(scope="module")
def models(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    serving = Serving("together", processes=3, result_cache=5, query_cache=7)
    return write(release, tmp_path_factory.mktemp("models"), serving)


class TestTogether:
    def test_ensembles_stay_and_their_steps_are_one_model(self, models: Path) -> None:
        ensembles = {"search", "search_deep", "search_personal", "recommend"}
        assert {home.name for home in models.iterdir()} == {*ensembles, PIPELINES, "events", "privacy"}
        for name in ensembles:
            (step,) = config(models, name).ensemble_scheduling.step
            assert step.model_name == PIPELINES

    def test_one_set_of_processes_answers_for_all(self, models: Path) -> None:
        (group,) = config(models, PIPELINES).instance_group
        assert group.count == 3

    def test_a_callers_side_of_an_ensemble_is_as_before(self, release: Path, models: Path) -> None:
        for name in ("search", "search_deep", "search_personal", "recommend"):
            before, after = config(release, name), config(models, name)
            assert list(before.input) == list(after.input)
            assert list(before.output) == list(after.output)

    def test_the_model_takes_and_gives_what_all_ensembles_do(self, models: Path) -> None:
        model = config(models, PIPELINES)
        inputs = {tensor.name for tensor in model.input}
        assert {"search.query", "search_deep.query", "recommend.items", "search_personal.user_token"} <= inputs
        assert all(tensor.optional for tensor in model.input)
        for name in ("search", "search_deep", "search_personal", "recommend"):
            (step,) = config(models, name).ensemble_scheduling.step
            assert set(step.input_map) <= inputs
            assert set(step.output_map) <= {tensor.name for tensor in model.output}

    def test_caches_are_the_models_own(self, models: Path) -> None:
        given = {name: value.string_value for name, value in config(models, PIPELINES).parameters.items()}
        assert given["result_cache_megabytes"] == "5"
        assert given["query_cache_megabytes"] == "7"


class TestApart:
    def test_every_model_is_there_with_the_releases_own_files(self, release: Path, tmp_path: Path) -> None:
        models = write(release, tmp_path / "models", Serving("apart", query_cache=1))
        assert {home.name for home in models.iterdir()} == {f.parent.name for f in release.glob("*/config.pbtxt")}
        assert (models / "retrieve/1").resolve() == release / "retrieve/1"
        for name in ("encoder", "retrieve"):
            assert config(models, name) == config(release, name)

    def test_instances_and_caches_are_settings_for_every_target(self, release: Path, tmp_path: Path) -> None:
        models = write(release, tmp_path / "models", Serving("apart", instances=5, query_cache=0))
        for file in (configs.NAME, configs.CPU):
            assert [group.count for group in config(models, "ranker", file).instance_group] == [5]
            assert not config(models, "encoder", file).response_cache.enable
        assert [group.count for group in config(models, "retrieve").instance_group] == [5]
        assert not config(models, "search").instance_group

    def test_the_release_is_not_touched(self, release: Path, tmp_path: Path) -> None:
        before = {file: file.read_bytes() for file in release.rglob("*.pbtxt")}
        write(release, tmp_path / "models", Serving("apart", instances=9, query_cache=0))
        write(release, tmp_path / "models", Serving("together"))
        assert {file: file.read_bytes() for file in release.rglob("*.pbtxt")} == before

    def test_what_was_there_before_goes(self, release: Path, tmp_path: Path) -> None:
        write(release, tmp_path / "models", Serving("together"))
        models = write(release, tmp_path / "models", Serving("apart"))
        assert not (models / PIPELINES).exists()


def test_a_folder_without_an_ensemble_is_served_apart_alone(tmp_path: Path, release: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "few/encoder").symlink_to(release / "encoder")
    with pytest.raises(PrerequisiteError, match=r"holds no ensemble .*--steps apart"):
        write(tmp_path / "few", tmp_path / "models", Serving("together"))
    assert (write(tmp_path / "few", tmp_path / "models", Serving("apart")) / "encoder/1/model.onnx").is_file()


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "release/search").mkdir(parents=True)
    (tmp_path / "release/search/config.pbtxt").write_text("name: ")
    with pytest.raises(ArtefactError, match=r"search/config\.pbtxt is no model config"):
        write(tmp_path / "release", tmp_path / "models", Serving("apart"))
