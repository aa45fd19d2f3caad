from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from threadpoolctl import threadpool_limits

from build.settings import Training
from build.shelf.export import ENCODER_INPUTS, export_head, export_user_encoder
from build.shelf.metrics import measure
from build.shelf.network import Head, Products, Shape, UserEncoder
from build.shelf.split import Split, cases
from build.shelf.train import Settings, Trained, inputs_of, train
from shelfbridge.contract import SHELF_CANDIDATES, SHELF_EVENTS, SHELF_SIGNALS
from shelfbridge.errors import ArtefactError
from shelfbridge.shelf.history import BUY, DAY, History
from tests.unit.recommend_shop import EACH, NOW, shop, texts

SMALL = Settings(Shape(width=16, heads=2, dropout=0.1), Training(epochs=8, batch=32, learning_rate=1e-2), refresh=2)
SPLIT = Split.of(shop(), weeks=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that what is the same is the same to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def history(count: int) -> History:
    times = NOW - np.arange(count, 0, -1) * DAY
    return History(NOW, np.arange(count, dtype=np.int32), times, np.full(count, BUY, np.int64))


def encoder() -> UserEncoder:
    torch.manual_seed(0)
    made = UserEncoder(SMALL.shape).eval()
    torch.nn.init.normal_(made.of_kinds.weight)
    return made


def example(batch: int, length: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    vectors, ages = torch.randn(batch, length, 16), torch.rand(batch, length) * 100
    return [vectors, ages, torch.randint(0, 5, (batch, length)), torch.ones(batch, length, dtype=torch.int64)]


class TestUserEncoder:
    def test_the_order_of_events_makes_no_difference(self):
        inputs = example(2, 9)
        order = torch.randperm(9)
        torch.testing.assert_close(encoder()(*inputs), encoder()(*(one[:, order] for one in inputs)))

    def test_ages_and_kinds_do(self):
        vectors, ages, kinds, mask = example(2, 9)
        first = encoder()(vectors, ages, kinds, mask)
        assert (first - encoder()(vectors, ages * 2, kinds, mask)).abs().max() > 1e-3
        assert (first - encoder()(vectors, ages, (kinds + 1) % 5, mask)).abs().max() > 1e-3

    def test_what_is_masked_is_not_seen(self):
        vectors, ages, kinds, mask = example(2, 9)
        mask[:, :4] = 0
        whole = encoder()(vectors, ages, kinds, mask)
        torch.testing.assert_close(whole, encoder()(vectors[:, 4:], ages[:, 4:], kinds[:, 4:], mask[:, 4:]))

    def test_a_stranger_has_a_vector(self):
        inputs = example(1, 1)
        assert torch.isfinite(encoder()(*inputs[:3], torch.zeros(1, 1, dtype=torch.int64))).all()


class TestExport:
    @pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, SHELF_EVENTS), (5, 17)])
    def test_the_encoders_graph_is_its_model(self, tmp_path, batch, length):
        export_user_encoder(tmp_path / "model.onnx", encoder())
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        inputs = example(batch, length)
        inputs[3][0, : length // 2] = 0
        feed = {name: one.numpy() for name, one in zip(ENCODER_INPUTS, inputs, strict=True)}
        (got,) = session.run(["user_vector"], feed)
        np.testing.assert_allclose(got, encoder()(*inputs).detach().numpy(), atol=1e-4)

    def test_the_heads_graph_is_its_model(self, tmp_path):
        head = Head(len(SHELF_SIGNALS)).eval()
        head.mean.fill_(0.5)
        export_head(tmp_path / "model.onnx", head)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        signals = torch.randn(3, SHELF_CANDIDATES, len(SHELF_SIGNALS))
        (got,) = session.run(["shelf_scores"], {"shelf_signals": signals.numpy()})
        np.testing.assert_allclose(got, head(signals).detach().numpy(), atol=1e-4)

    def test_what_differs_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("build.compression.export.TOLERANCE", -1.0)
        with pytest.raises(ArtefactError, match="differs from its torch model"):
            export_head(tmp_path / "model.onnx", Head(len(SHELF_SIGNALS)))


class TestInputs:
    def test_the_latest_events_come_last(self):
        items, ages, kinds, mask = inputs_of([history(2), history(SHELF_EVENTS + 10), history(0)])
        assert items.shape == (3, SHELF_EVENTS)
        assert items[0, -2:].tolist() == [0, 1]
        assert mask.sum(1).tolist() == [2, SHELF_EVENTS, 0]
        assert items[1].tolist() == list(range(10, SHELF_EVENTS + 10))
        assert ages[1, -1] == 1
        assert (kinds[1] == BUY).all()

    def test_training_forgets_some(self):
        torch.manual_seed(0)
        mask = inputs_of([history(40)] * 50, forgotten=0.5)[3]
        assert 15 < mask.sum(1).float().mean() < 25


class TestTraining:
    @staticmethod
    def trained(folder: Path, unseen: np.ndarray | None = None, start: Trained | None = None) -> Trained:
        known = cases(shop(), 0, SPLIT.test)
        console = Console(quiet=True)
        return train(texts(), known, SMALL, folder=folder, console=console, unseen=unseen, start=start)

    def test_finds_what_shoppers_like(self, tmp_path):
        model = self.trained(tmp_path)
        asked = cases(shop(), SPLIT.test, SPLIT.end)
        scores = [model.score(case.history) for case in asked]
        liked = [np.argsort(-score)[:EACH] // EACH == case.user % 4 for case, score in zip(asked, scores, strict=True)]
        assert np.mean(liked) > 0.9
        assert np.allclose(model.vectors([asked[0].history])[0] @ model.items.T, scores[0], atol=1e-5)

    def test_a_product_never_sold_is_found_by_its_text(self, tmp_path):
        unseen = np.zeros(len(texts()), bool)
        unseen[[0, 9, 18, 27]] = True
        model = self.trained(tmp_path, unseen)
        asked = [case for case in cases(shop(), SPLIT.test, SPLIT.end) if len(case.history)]
        own = [model.score(case.history.without(unseen))[unseen].argmax() == case.user % 4 for case in asked]
        assert np.mean(own) > 0.8

    def test_is_the_same_again_and_goes_on(self, tmp_path):
        first, second = self.trained(tmp_path), self.trained(tmp_path)
        assert (first.items == second.items).all()
        further = self.trained(tmp_path, start=first)
        assert 0 < np.abs(further.items - first.items).mean() < np.abs(first.items).mean()
        assert (first.items == second.items).all()

    def test_without_validation_the_log_tells_of_none(self, tmp_path):
        train(texts(), cases(shop(), 0, SPLIT.validation), SMALL, folder=tmp_path, console=Console(quiet=True))
        log = EventAccumulator(str(tmp_path / "tensorboard"))
        told = set(log.Reload().Tags()["scalars"])
        assert {"train/loss", "train/learning_rate"} <= told
        assert "eval/dev" not in told

    def test_the_validation_chooses(self, tmp_path):
        asked = [case for case in cases(shop(), SPLIT.validation, SPLIT.test) if len(case.history)]
        seen = []

        def figure(model: Trained) -> float:
            seen.append(measure(asked, [model.score(case.history) for case in asked]).mean("overall", "ndcg"))
            return seen[-1]

        known = cases(shop(), 0, SPLIT.validation)
        short = replace(SMALL, training=replace(SMALL.training, epochs=3))
        model = train(texts(), known, short, folder=tmp_path, console=Console(quiet=True), validate=figure)
        assert figure(model) == pytest.approx(max(seen[:-1]))


def test_texts_alone_make_the_vectors_of_dropped_products():
    products = Products(torch.from_numpy(texts()), 16, dropped=1.0)
    torch.testing.assert_close(products.train()(), products.of_texts(products.texts))
    assert (products.eval()() - products.of_texts(products.texts)).abs().max() > 0.01
