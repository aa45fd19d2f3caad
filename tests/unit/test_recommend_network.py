from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from threadpoolctl import threadpool_limits

from build.settings import ShelfSettings, Training
from build.shelf import network
from build.shelf.network import Head, Products, UserEncoder, export_head, export_user_encoder
from build.shelf.split import Split, cases, with_history
from build.shelf.train import Users, inputs_of, train
from build.training.loop import fit
from shelfbridge.contract import MODELS, SHELF_CANDIDATES, SHELF_EVENTS, SHELF_SIGNALS, SHELF_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.shelf.history import BUY, DAY, History
from tests.unit.recommend_shop import EACH, NOW, shop, texts

SHORT = ShelfSettings(training=Training(epochs=8, batch=32, learning_rate=1e-2), refresh=2)
QUIET = Console(quiet=True)
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
    made = UserEncoder().eval()
    torch.nn.init.normal_(made.of_kinds.weight)
    return made


def example(batch: int, length: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    vectors, ages = torch.randn(batch, length, SHELF_WIDTH), torch.rand(batch, length) * 100
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
        export_user_encoder(tmp_path, encoder())
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        inputs = example(batch, length)
        inputs[3][0, : length // 2] = 0
        feed = {tensor.name: one.numpy() for tensor, one in zip(MODELS["user_encoder"].inputs, inputs, strict=True)}
        (got,) = session.run(["user_vector"], feed)
        np.testing.assert_allclose(got, encoder()(*inputs).detach().numpy(), atol=1e-4)

    def test_the_heads_graph_is_its_model(self, tmp_path):
        head = Head().eval()
        head.mean.fill_(0.5)
        export_head(tmp_path, head)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        signals = torch.randn(3, SHELF_CANDIDATES, len(SHELF_SIGNALS))
        (got,) = session.run(["shelf_scores"], {"shelf_signals": signals.numpy()})
        np.testing.assert_allclose(got, head(signals).detach().numpy(), atol=1e-4)

    def test_what_differs_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("build.compression.export.TOLERANCE", -1.0)
        with pytest.raises(ArtefactError, match="differs from its torch model"):
            export_head(tmp_path, Head())


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
    def trained(unseen: np.ndarray | None = None, start: Users | None = None) -> Users:
        return train(texts(), cases(shop(), 0, SPLIT.test), SHORT, console=QUIET, unseen=unseen, start=start)

    def test_finds_what_shoppers_like(self):
        model = self.trained()
        asked = cases(shop(), SPLIT.test, SPLIT.end)
        scores = model.vectors([case.history for case in asked]) @ model.items.T
        liked = [np.argsort(-score)[:EACH] // EACH == case.user % 4 for case, score in zip(asked, scores, strict=True)]
        assert np.mean(liked) > 0.9
        assert np.allclose(model.vectors([asked[0].history])[0] @ model.items.T, scores[0], atol=1e-5)

    def test_a_product_never_sold_is_found_by_its_text(self):
        unseen = np.zeros(len(texts()), bool)
        unseen[[0, 9, 18, 27]] = True
        model = self.trained(unseen)
        asked = with_history(cases(shop(), SPLIT.test, SPLIT.end))
        scores = model.vectors([case.history.without(unseen) for case in asked]) @ model.items.T
        assert np.mean(scores[:, unseen].argmax(1) == [case.user % 4 for case in asked]) > 0.8

    def test_is_the_same_again_and_goes_on(self):
        first, second = self.trained(), self.trained()
        assert (first.items == second.items).all()
        further = self.trained(start=first)
        assert 0 < np.abs(further.items - first.items).mean() < np.abs(first.items).mean()
        assert (first.items == second.items).all()


def test_without_validation_the_log_tells_of_none(tmp_path):
    model, batches = torch.nn.Linear(2, 1), [torch.ones(3, 2)] * 20
    fit(
        model,
        lambda _: batches,
        lambda batch: model(torch.stack(batch)).sum(),
        None,
        training=SHORT.training,
        folder=tmp_path,
        console=QUIET,
    )
    log = EventAccumulator(str(tmp_path / "tensorboard"))
    told = set(log.Reload().Tags()["scalars"])
    assert {"train/loss", "train/learning_rate"} <= told
    assert "eval/dev" not in told


def test_texts_alone_make_the_vectors_of_dropped_products(monkeypatch):
    monkeypatch.setattr(network, "DROPPED", 1.0)
    products = Products(torch.from_numpy(texts()))
    torch.testing.assert_close(products.train()(), products.of_texts(products.texts))
    assert (products.eval()() - products.of_texts(products.texts)).abs().max() > 0.01
