"""What a build runs again, and what not: by what its stages declare, and by nothing else."""

import inspect
import io
import json
import pkgutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from rich.console import Console

from build import __main__ as program
from build import declaration
from build.data.foreign import ForeignPairs
from build.declaration import Data, device, differences
from build.pipeline import Plan, names
from build.settings import preset
from build.shop import TEXTS, Shop
from build.stages import Stages, only
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Product

ROOT = Path(__file__).parents[2]
QUIET = Console(file=io.StringIO())
LEARNED = {"tokenizer", "encoder", "index", "cross-encoder", "ranker", "feeds", "shelf", "gate", "evaluation"}
"""Some stages that a price does not concern."""


def shop(name: str = "full", **changes) -> Shop:
    """Five products, a query of each split for each of them, and purchases; `changes` are Shop's fields."""
    products = tuple(Product(product_id=f"p{n}", title=f"lamp {n}", price=n, stock=1) for n in range(5))
    rows = tuple(
        Judgment(query_id=f"{split}{n}", query=f"{split} lamp {n}", product_id=f"p{n}", label="E", split=split)
        for split in ("train", "dev", "test")
        for n in range(5)
    )
    given = {
        "catalogue": Catalogue(products),
        "judgments": Judgments(rows),
        "foreign": ForeignPairs(),
        "data": "d",
        "settings": preset(name),
        "console": QUIET,
        "behaviour": Bought(),
    }
    return Shop(**{**given, **changes})


class Bought:
    """Stands for what shoppers did."""

    identity = "bought"


def recipes(of: Shop) -> dict[str, dict]:
    """What each stage of a build is made from; the results of others count by a digest of their recipes."""
    found: dict[str, dict] = {}
    for stage in Plan.of(of).all:
        texts = {name: json.dumps(found[one.name], sort_keys=True) for name, one in stage.before.items()}
        before = {name: sha256(text.encode()).hexdigest() for name, text in texts.items()}
        found[stage.name] = stage.recipe(before)
    return found


def changed(one: Shop, other: Shop) -> set[str]:
    """Stages whose own inputs, not those of stages before, differ."""
    found = set()
    plans = [{stage.name: stage for stage in Plan.of(shop).all} for shop in (one, other)]
    for name, stage in plans[0].items():
        before = dict.fromkeys(stage.before, "as before")
        if stage.recipe(before) != plans[1][name].recipe(before):
            found.add(name)
    return found


def with_price(of: Shop, price: float) -> Shop:
    first, *others = of.catalogue.products
    return replace(of, catalogue=Catalogue((first.model_copy(update={"price": price, "stock": 0}), *others)))


class TestWhatCounts:
    def test_a_price_and_a_stock_concern_what_shows_and_filters_them(self):
        one = shop()
        assert changed(one, with_price(one, 99)) == {"store", "retrieve"}

    def test_a_title_concerns_all_that_reads_texts(self):
        one = shop()
        first, *others = one.catalogue.products
        other = replace(one, catalogue=Catalogue((first.model_copy(update={"title": "chair"}), *others)))
        assert changed(one, other) >= {*LEARNED, "store", "retrieve", "pieces"}

    def test_a_rating_concerns_the_signals_and_what_shows_it(self):
        one = shop()
        first, *others = one.catalogue.products
        other = replace(one, catalogue=Catalogue((first.model_copy(update={"rating_count": 7}), *others)))
        assert changed(one, other) == {"store", "retrieve", "index"}

    @pytest.mark.parametrize(
        ("split", "reads", "not_these"),
        [
            ("train", {"encoder", "index", "cross-encoder", "ranker", "gate"}, {"evaluation", "cross-encoder-blend"}),
            ("dev", {"encoder", "cross-encoder", "ranker", "cross-encoder-blend", "gate"}, {"index", "feeds"}),
            ("test", {"evaluation"}, {"tokenizer", "encoder", "index", "cross-encoder", "ranker", "feeds", "gate"}),
        ],
    )
    def test_a_changed_split_concerns_what_reads_it(self, split, reads, not_these):
        one = shop()
        rows = [
            row.model_copy(update={"query": "chair", "label": "S"}) if row.query_id == f"{split}0" else row
            for row in one.judgments.rows
        ]
        found = changed(one, replace(one, judgments=Judgments(tuple(rows))))
        assert found >= reads
        assert not found & not_these

    def test_a_query_that_moves_to_another_split_concerns_what_reads_either(self):
        one = shop()
        rows = [
            row.model_copy(update={"split": "test"}) if row.query_id == "dev0" else row for row in one.judgments.rows
        ]
        assert changed(one, replace(one, judgments=Judgments(tuple(rows)))) >= {"encoder", "ranker", "evaluation"}

    def test_another_hold_out_concerns_what_compression_learns_from(self, monkeypatch):
        from build.evaluation import panel

        one = shop()
        assert one.learnable.identity
        monkeypatch.setattr(panel, "held_back", lambda judgments: {"train0"})
        first = shop()
        assert first.learnable.identity
        monkeypatch.setattr(panel, "held_back", lambda judgments: {"train1"})
        assert {"feeds", "opinions-200"} <= changed(first, shop())

    def test_a_setting_concerns_the_stages_that_are_told_it(self):
        one = shop()
        settings = one.settings.model_copy(update={"ranker": replace(one.settings.ranker, teacher_queries=1)})
        assert changed(one, replace(one, settings=settings)) == {"ranker", "ranker-fitted"}

    def test_how_many_queries_weigh_a_cross_encoder_concerns_no_head(self):
        one = shop()
        settings = one.settings.model_copy(update={"ranker": replace(one.settings.ranker, blend_queries=1)})
        found = changed(one, replace(one, settings=settings))
        assert "cross-encoder-blend" in found
        assert found.isdisjoint({"ranker", "ranker-fitted"})

    @pytest.mark.parametrize("setting", [{"queries": 1}, {"most_error": 0.5}, {"sensitivity": True}])
    def test_what_concerns_judged_queries_teaches_no_shelf(self, setting):
        one = shop()
        settings = one.settings.model_copy(update={"compression": replace(one.settings.compression, **setting)})
        found = changed(one, replace(one, settings=settings))
        assert "encoder-compressed" in found
        assert "shelf" not in found

    def test_another_library_concerns_the_stages_that_name_it(self, monkeypatch):
        before = recipes(shop())
        installed = declaration.installed
        monkeypatch.setattr(declaration, "installed", lambda name: "9" if name == "torch" else installed(name))
        one, other = before["encoder"], recipes(shop())["encoder"]
        assert list(differences(one, other)) == [f"library torch: {one['libraries']['torch']} -> 9"] + [
            line for line in differences(one, other) if line.startswith("input")
        ]
        assert before["pieces"]["libraries"] == recipes(shop())["pieces"]["libraries"]

    def test_negatives_found_by_words_depend_on_what_stems_them(self):
        one = shop()
        settings = one.settings.model_copy(update={"encoder": replace(one.settings.encoder, negatives=2)})
        with_and_without = (Plan.of(replace(one, settings=settings)), Plan.of(one))
        assert ["PyStemmer" in plan.named("encoder").libraries for plan in with_and_without] == [True, False]

    def test_a_gpu_concerns_what_learns(self, monkeypatch):
        before = recipes(shop())
        monkeypatch.setattr(declaration, "device", lambda: "cuda")
        after = recipes(shop())
        others = {name for name in before if before[name]["arithmetic"] != after[name]["arithmetic"]}
        assert {"encoder", "cross-encoder", "ranker", "shelf"} <= others
        assert not {"tokenizer", "index", "store", "retrieve"} & others
        assert device() in ("cpu", "cuda")


DECISIONS = {
    "encoder-chosen": {"encoder-onnx", "encoder-student-2x12x1536-onnx"},
    "encoder-served": {"encoder-compressed"},
    "ranker-chosen": {"ranker-fitted", "ranker-plain", "encoder-served"},
    "cross-encoder-chosen": {
        *("cross-encoder-weighed", "cross-encoder-student-2x4x384-weighed", "cross-encoder-left-out"),
        *("encoder-served", "ranker-chosen"),
    },
    "cross-encoder-served": {"cross-encoder-compressed", "cross-encoder-left-out", "encoder-served", "ranker-chosen"},
    "gate": {"encoder-served", "ranker-compressed", "cross-encoder-served"},
}
"""Stages that decide what is served, and some that each reads, all its candidates among them."""


class TestFrom:
    def test_from_a_stage_are_it_and_all_that_read_its_result(self):
        plan = Plan.of(shop("quick"))
        after = [stage.name for stage in plan.stages.after(["cross-encoder"])]
        assert after[0] == "cross-encoder"
        assert {"ranker", "ranker-chosen", "gate", "evaluation"} <= set(after)
        assert not {"tokenizer", "encoder", "index", "retrieve", "shelf"} & set(after)


class TestDecisions:
    @pytest.mark.parametrize("name", DECISIONS)
    def test_a_decision_reads_all_its_candidates_and_the_originals(self, name):
        plan = Plan.of(shop())
        reads = {one.name for one in plan.named(name).before.values()}
        assert reads >= {*DECISIONS[name], "encoder-onnx", "index", "ranker", "cross-encoder-onnx"}

    def test_the_head_is_fitted_to_the_encoder_that_is_served(self):
        plan = Plan.of(shop())
        for name in ("ranker-fitted", "ranker-plain", "cross-encoder-weight"):
            assert plan.named(name).inputs["graph"].name == "encoder-served"

    def test_without_a_student_the_head_is_fitted_once(self):
        plan = Plan.of(shop("quick"))
        assert "ranker-fitted" not in plan.stages.declared
        assert plan.named("ranker-chosen").inputs["fitted"].name == "ranker"

    def test_a_cross_encoder_of_no_weight_has_no_student(self):
        plan = Plan.of(shop())
        shape = "2x4x384"
        names = ["opinions-200"] + [f"cross-encoder-{kind}-{shape}" for kind in ("pruned", "student")]
        for name in [*names, f"cross-encoder-student-{shape}-weight", f"cross-encoder-student-{shape}-weighed"]:
            assert plan.named(name).only_after is plan.named("cross-encoder-weight"), name
        assert plan.named("cross-encoder-weighed").only_after is None

    def test_what_was_decided_goes_into_the_release(self):
        parts = Plan.of(shop()).parts
        served = {model: parts[model].name for model in ("encoder", "ranker", "cross_encoder")}
        assert served == {"encoder": "encoder-served", "ranker": "ranker-compressed"} | {
            "cross_encoder": "cross-encoder-served"
        }

    def test_a_wish_concerns_decisions_alone(self):
        one = shop()
        insisted = replace(one.settings.compression, insisted=True)
        other = replace(one, settings=one.settings.model_copy(update={"compression": insisted}))
        assert changed(one, other) == set(DECISIONS)


class TestWhatAStageIsGiven:
    def test_products_without_the_fields_that_it_does_not_declare(self):
        given = Stages(shop()).originals.encoder.inputs["catalogue"].value
        assert [product.title for product in given.products] == [f"lamp {n}" for n in range(5)]
        assert {product.price for product in given.products} == {product.stock for product in given.products} == {None}
        assert given.rows_of["p3"] == 3

    def test_no_stage_before_the_evaluation_sees_the_test_split(self):
        plan = Plan.of(shop())
        for stage in plan.all:
            for one in stage.inputs.values():
                if isinstance(one, Data) and isinstance(one.value, Judgments):
                    splits = {row.split for row in one.value.rows}
                    assert splits == {"test"} if stage is plan.evaluation else "test" not in splits

    def test_settings_that_it_does_not_declare_are_not_there(self):
        some = only(preset("full"), "base", "ranker")
        assert some.ranker.teacher_queries == 200
        with pytest.raises(AttributeError, match="encoder"):
            _ = some.encoder

    def test_every_function_takes_what_its_stage_gives(self):
        stages = Stages(shop())
        plan = Plan.of(shop())
        for stage in [*plan.all, stages.token_frontier()]:
            function = pkgutil.resolve_name(stage.work)
            inspect.signature(function).bind(Path(), **stage.inputs, **stage.parameters, **stage.given)

    def test_every_library_is_installed(self):
        for stage in Plan.of(shop()).all:
            assert "absent" not in stage.recipe(dict.fromkeys(stage.before, ""))["libraries"].values(), stage.name


class TestCommandLine:
    """The program is run as its users run it; what it has imported when it ends says how soon it could tell."""

    HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "scipy", "pandas", "faiss", "sklearn", "modelopt")

    @pytest.fixture
    def files(self, tmp_path) -> dict[str, str]:
        (tmp_path / "products.jsonl").write_text('{"product_id": "1", "title": "lamp"}\n')
        (tmp_path / "judgments.csv").write_text("query_id,query,product_id,label,split\n1,lamp,1,E,train\n")
        names = {"catalogue": "products.jsonl", "judgments": "judgments.csv", "out": "out"}
        return {name: str(tmp_path / file) for name, file in names.items()}

    WRONG = (
        ({"catalogue": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
        ({"catalogue": "README.md"}, "README.md: .md is not read"),
        ({"catalogue": None}, "catalogue: Field required"),
        ({"judgments": "pyproject.toml"}, "pyproject.toml: .toml is not read"),
        ({"pairs": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"interactions": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"interactions": "README.md"}, "not a kind of file that is read here"),
        ({"settings": "nowhere.toml"}, "nowhere.toml: no such file"),
        ({"encoder": "./nowhere"}, "./nowhere: no folder of a base model"),
        ({"vectors": "nowhere"}, "'nowhere' is no place for vectors"),
        ({"vectors": "milvus"}, "SHELFBRIDGE_MILVUS_URI is not set"),
        ({"weeks": "60"}, "shelf.weeks: Input should be less than or equal to 52"),
        ({"budget": "much"}, "invalid float value"),
        ({"preset": "slow"}, "invalid choice"),
        ({"from": "nothing"}, "there is no stage 'nothing'"),
        ({"why": "nothing"}, "there is no stage 'nothing'"),
        ({"out": "README.md"}, "README.md is a file"),
        ({"out": "README.md/out"}, "README.md is a file"),
        ({"out": "/proc/1/nowhere/out"}, "is not to be written to"),
    )

    def test_a_wrong_argument_is_told_before_anything_heavy_is_imported(self, files):
        """All in one process, which would have kept what any of them imported."""
        lines = [
            [text for name, value in (files | change).items() if value is not None for text in (f"--{name}", value)]
            for change, _ in self.WRONG
        ] + [["diff", "nowhere", "nowhere"]]
        program = (
            "import json, sys\nfrom build.__main__ import main\n"
            "for sys.argv[1:] in json.loads(sys.argv[1]):\n"
            "    try:\n        main()\n    except SystemExit as error:\n        print(error, file=sys.stderr)\n"
            "    print('----', file=sys.stderr)\n"
            f"print([name for name in {self.HEAVY} if name in sys.modules])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(lines)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        answers = done.stderr.split("----\n")
        for words, answer in zip(
            [*(words for _, words in self.WRONG), "nowhere is not a release"], answers, strict=False
        ):
            assert words in answer
            assert "Traceback" not in answer
        assert done.stdout.splitlines()[-1] == "[]"

    @pytest.mark.parametrize(
        ("more", "words"), [((), "the same command goes on"), (("--from", "gate"), "without --from goes on")]
    )
    def test_who_stops_it_is_told_how_it_goes_on(self, monkeypatch, more, words):
        def stopped(options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(program, "_run", stopped)
        monkeypatch.setattr("sys.argv", ["build", *more])
        with pytest.raises(SystemExit, match=f"^stopped; .*{words}"):
            program.main()

    def test_names_of_stages_need_no_data(self):
        assert "shelf" in names(preset("full"), shelf=True)
        assert "shelf" not in names(preset("full"), shelf=False)
        assert not [name for name in names(preset("quick"), shelf=False) if "student" in name]


def test_texts_are_all_that_is_learned_from():
    assert {"price", "stock", "rating"}.isdisjoint(TEXTS)
    assert TEXTS[0] == "product_id"
    assert set(TEXTS) <= set(Product.model_fields)
