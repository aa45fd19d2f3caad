"""A sweep changes copies only, takes turns, goes on where it stopped, and chooses by what it measured."""

import argparse
import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from loadtests.lab.sweep import __main__ as program
from loadtests.lab.sweep import report
from loadtests.lab.sweep.__main__ import AXES, copy, grid, of_server
from loadtests.lab.sweep.record import CLIENTS, Sweep, changes, choice, combined, name_of, noise, summaries
from shelfbridge.errors import ArtefactError, DataError, ShelfbridgeError
from shelfbridge.measure.report import picture

CONFIGS = Path(__file__).parents[2] / "model_repository"
ABOUT = {"machine": {"processor": "a processor", "cores": 2}, "seconds": 4.0, "warm": False}


@pytest.fixture
def release(tmp_path):
    """The real configs, and files as small as they can be."""
    folder = tmp_path / "releases" / "1"
    shutil.copytree(CONFIGS, folder)
    for home in [entry for entry in folder.iterdir() if entry.is_dir()]:
        (home / "1").mkdir()
        (home / "1" / "model.onnx").write_text(home.name)
    (folder / "manifest.json").write_text(json.dumps({"release": 1}))
    return folder


def having(steps="together", **changed):
    return {"steps": steps, **changed}


def served(folder, model):
    """The config that the embedded server reads."""
    file = folder / model / "configs" / "cpu.pbtxt"
    file = file if file.is_file() else folder / model / "config.pbtxt"
    return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())


def test_the_release_stays_as_it_is(release, tmp_path):
    before = {path: path.read_bytes() for path in release.rglob("*") if path.is_file()}
    copy(release, having(threads=2, network_instances=3, python_instances=3), tmp_path / "made")
    assert {path: path.read_bytes() for path in release.rglob("*") if path.is_file()} == before


def test_what_is_large_is_linked_and_not_copied(release, tmp_path):
    made = copy(release, having(), tmp_path / "made")
    assert (made / "encoder/1/model.onnx").samefile(release / "encoder/1/model.onnx")


def test_without_a_setting_every_config_stays_what_it_was(release, tmp_path):
    made = copy(release, having(), tmp_path / "made")
    for config in CONFIGS.rglob("*.pbtxt"):
        model = config.relative_to(CONFIGS).parts[0]
        assert served(made, model) == served(release, model)


def test_each_setting_is_in_the_config_that_is_served(release, tmp_path):
    variant = having("apart", python_instances=3, network_instances=4, threads=2, arena=False, delay_us=500)
    made = copy(release, variant, tmp_path / "made")
    encoder, ranker, retrieve = (served(made, name) for name in ("encoder", "ranker", "retrieve"))
    assert [group.count for group in retrieve.instance_group] == [3]
    for network in (encoder, ranker):
        assert [group.count for group in network.instance_group] == [4]
        assert network.parameters["intra_op_thread_count"].string_value == "2"
        assert network.parameters["enable_mem_arena"].string_value == "0"
        assert network.dynamic_batching.max_queue_delay_microseconds == 500
        assert not network.dynamic_batching.HasField("default_queue_policy")
    assert served(made, "cross_encoder") == served(release, "cross_encoder")


def test_a_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="not a release"):
        copy(tmp_path, having(), tmp_path / "made")


def test_settings_of_the_server_go_to_the_server():
    assert of_server(having()) == {"steps": "together"}
    chosen = of_server(having(processes=3, result_cache=0.0, query_cache=0.0, grpc_pool=64, copy_threads=2))
    flags = ["--grpc-infer-allocation-pool-size=64", "--buffer-manager-thread-count=2"]
    assert chosen == {"steps": "together", "processes": 3, "result_cache": 0.0, "query_cache": 0.0, "extra": flags}


def test_the_grid_varies_one_setting_at_a_time_and_has_no_variant_twice():
    variants = grid(list(AXES), warm=True)
    assert len({name_of(variant) for variant in variants}) == len(variants)
    changed = [len(changes(one)) for one in variants]
    assert sorted(set(changed)) == [0, 1]
    assert changed.count(0) == 2


def test_caches_are_varied_only_where_queries_repeat():
    names = [name_of(variant) for variant in grid(list(AXES), warm=False)]
    assert not [name for name in names if "cache" in name]


def point(per_second, p99, clients=16):
    return {"clients": clients, "per_second": per_second, "p50": p99 / 2, "p99": p99, "server_cpu_ms": 5.0,
            "client_cpu_ms": 1.0, "resident_mb": 100.0, "errors": 0.0}  # fmt: skip


def measured(sweep, spread=0.01, **rates):
    """A record with three rounds of each variant at these searches/s and p99, which differ by so much."""
    for name, (variant, per_second, p99) in rates.items():
        assert name
        list(sweep.missing([variant], 1))
        for factor in (1.0, 1 - spread, 1 + spread):
            sweep.add(variant, [point(per_second * factor, p99, clients) for clients in CLIENTS])
    return summaries(sweep.record)


@pytest.fixture
def sweep(tmp_path):
    return Sweep.open(tmp_path / "out" / "sweep.json", ABOUT)


def test_variants_take_turns(sweep):
    variants = [having(), having(processes=3)]
    order = []
    for variant in sweep.missing(variants, 2):
        order.append(variant)
        sweep.add(variant, [point(1, 1)])
    assert order == variants * 2


def test_a_sweep_goes_on_where_it_stopped(sweep):
    variants = [having(), having(processes=3)]
    for variant in itertools.islice(sweep.missing(variants, 2), 3):
        sweep.add(variant, [point(1, 1)])
    again = Sweep.open(sweep.file, ABOUT)
    assert list(again.missing(variants, 2)) == [variants[1]]


def test_what_cannot_be_served_is_tried_again_by_another_run_alone(sweep):
    (variant,) = sweep.missing([having(threads=2)], 1)
    sweep.add(variant, None, "no such setting")
    assert not list(sweep.missing([variant], 3))
    again = Sweep.open(sweep.file, ABOUT)
    assert list(again.missing([variant], 1)) == [variant]
    again.add(variant, [point(1, 1)])
    assert not again.record["variants"][name_of(variant)]["refused"]


def test_a_record_of_another_machine_is_not_gone_on_with(sweep):
    list(sweep.missing([having()], 1))
    sweep.add(having(), [point(1, 1)])
    with pytest.raises(DataError, match=r"another seconds.*--out"):
        Sweep.open(sweep.file, {**ABOUT, "seconds": 9.0})


def test_figures_are_medians_over_the_rounds(sweep):
    (variant,) = sweep.missing([having()], 1)
    for per_second in (100, 300, 110):
        sweep.add(variant, [point(per_second, 9, clients) for clients in CLIENTS])
    (row,) = summaries(sweep.record).values()
    last = row["points"][-1]
    assert (last["per_second"], last["rates"], last["clients"]) == (110, [100, 300, 110], 16)


def test_within_the_noise_the_lower_p99_is_chosen(sweep):
    near, far = having(processes=3), having(processes=1)
    rows = measured(sweep, base=(having(), 200, 90), near=(near, 196, 60), far=(far, 150, 10))
    assert choice(rows) == name_of(near)


def test_the_noise_is_that_of_equal_settings(sweep):
    """Of two settings that are truly equal, measured over and over, 5 % differ by more than the noise."""
    chance = np.random.default_rng(5)
    apart = 0
    for _ in range(400):
        rates = 200 * np.exp(chance.normal(0, 0.1, (12, 3)))
        rows = {str(at): {"points": [{"rates": list(some)}]} for at, some in enumerate(rates)}
        medians = np.median(rates, axis=1)
        apart += max(medians[:2]) / min(medians[:2]) - 1 > noise(rows)
    assert 5 <= apart <= 32


def test_a_gain_that_equal_settings_show_as_well_is_within_noise(sweep):
    """Rounds that differ by a quarter do not prove a tenth: nothing is combined, and the report says so."""
    variants = {"base": (having(), 200, 90), "more": (having(processes=4), 220, 95)}
    variants["flags"] = (having(grpc_pool=64), 215, 91)
    rows = measured(sweep, spread=0.25, **variants)
    assert 0.25 < noise(rows) < 1
    assert combined(rows) is None
    assert choice(rows) == name_of(having())
    assert "| +10%, within noise |" in report.table(sweep.record, rows, choice(rows))


def test_one_round_tells_no_noise(sweep):
    for variant in (having(), having(processes=4)):
        list(sweep.missing([variant], 1))
        sweep.add(variant, [point(200 + 50 * (variant.get("processes", 0)), 90, clients) for clients in CLIENTS])
    rows = summaries(sweep.record)
    assert noise(rows) == float("inf")
    assert choice(rows) == name_of(having(processes=4))
    assert "+100%, noise not known" in report.table(sweep.record, rows, choice(rows))


def test_changes_that_gained_are_tried_together_each_at_its_best(sweep):
    rows = measured(
        sweep,
        base=(having(), 200, 90),
        some=(having(processes=3), 220, 90),
        more=(having(processes=4), 240, 90),
        flags=(having(grpc_pool=64), 210, 90),
        noise=(having(threads=2), 203, 90),
        other_way=(having("apart", delay_us=500), 250, 90),
    )
    assert combined(rows) == having(processes=4, grpc_pool=64)


def test_one_change_that_gained_needs_no_combination(sweep):
    assert combined(measured(sweep, base=(having(), 200, 90), more=(having(processes=4), 240, 90))) is None


def test_the_front_has_what_nothing_beats():
    points = [point(100, 10), point(90, 10), point(90, 5), point(80, 7)]
    assert report.front(points) == {0, 2}


def options(tmp_path, **more):
    given = {"release": tmp_path, "out": tmp_path / "out", "seconds": 1.0, "rounds": 2, "warm": False}
    return argparse.Namespace(**given | more)


def test_a_variant_that_cannot_be_served_does_not_end_the_sweep(sweep, tmp_path, monkeypatch):
    def measure(variant, stream, options):
        if "threads" in variant:
            raise ShelfbridgeError("two threads cannot be had; give one")
        return [point(1, 1, clients) for clients in CLIENTS]

    monkeypatch.setattr(program, "measured", measure)
    variants = [having(threads=2), having()]
    assert program.run(sweep, variants, lambda: None, options(tmp_path), time.monotonic() + 60)
    assert sweep.record["variants"]["together, threads=2"]["refused"] == "two threads cannot be had; give one"
    assert len(sweep.record["variants"]["together"]["rounds"]) == 2


def test_a_sweep_ends_in_time(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "measured", lambda *_: pytest.fail("there was no time for it"))
    assert not program.run(sweep, [having()], lambda: None, options(tmp_path), time.monotonic())


def test_the_report_marks_the_choice_and_names_what_was_not_served(sweep, tmp_path):
    rows = measured(sweep, base=(having(), 200, 90), more=(having(processes=4), 240, 95))
    list(sweep.missing([having(threads=2)], 1))
    sweep.add(having(threads=2), None, "no such setting")
    text = report.table(sweep.record, rows, choice(rows))
    picture(tmp_path / "sweep.png", lambda figure: report.draw(figure, sweep.record, rows, choice(rows)), (15, 4.2))
    assert "| together, processes=4 (**chosen**) |" in text
    assert "- together, threads=2: no such setting" in text
    assert text.index("processes=4") < text.index("| together |")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
