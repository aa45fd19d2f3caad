"""Who is likely to buy: BG/NBD, the features of a moment, calibrated probabilities; and the report as a whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.integrate import quad
from scipy.stats import beta, gamma

from build.behaviour.__main__ import main
from build.behaviour.bgnbd import BgNbd, histories
from build.behaviour.features import came, features
from build.behaviour.propensity import calibration_error, fitted, propensity, reliability
from build.behaviour.report import behaviour, write_report
from build.behaviour.shop import Shop
from build.shelf.interactions import DAY, Interactions, read
from shelfbridge.errors import DataError
from shelfbridge.program import BAD_INPUT, OK

PERIOD = 30
DAYS = 300
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "online_retail" / "transactions.parquet"


def market(users: int, seed: int = 1) -> tuple[Shop, np.ndarray]:
    """Shoppers who buy at a steady rate of their own until they stop, and each one's true rate at the end (stopped: 0).

    Rates are gamma, the chance to stop after a purchase beta, as BG/NBD has it.
    """
    rng = np.random.default_rng(seed)
    rates, stops = rng.gamma(0.8, 1 / 20, users), rng.beta(1.0, 6.0, users)
    rows, now = [], np.zeros(users)
    for user, (rate, stop) in enumerate(zip(rates, stops, strict=True)):
        day = rng.uniform(0, DAYS - 100)
        while day < DAYS:
            rows.append((user, day))
            if rng.random() < stop:
                break
            day += rng.exponential(1 / rate)
        else:
            now[user] = rate
    user, day = (np.array(column) for column in zip(*sorted(rows, key=lambda row: row[1]), strict=True))
    size = len(user)
    seen = Interactions(
        user=user.astype(np.int32),
        item=rng.integers(0, 20, size).astype(np.int32),
        time=(day * DAY).astype(np.int64) + 18_631 * DAY,
        basket=np.arange(size, dtype=np.int32),
        quantity=np.ones(size, np.float32),
        price=np.ones(size, np.float32),
        users=tuple(f"secret-{n}" for n in range(users)),
        items=tuple(f"p{n}" for n in range(20)),
        titles=tuple(f"Product {n}" for n in range(20)),
    )
    return Shop(seen), now


@pytest.fixture(scope="module")
def simulated() -> tuple[Shop, np.ndarray]:
    return market(3000)


def scrambled(shop: Shop, cut: int) -> Shop:
    """The same past and another future: users, products, times, prices and quantities change hands."""
    rng = np.random.default_rng(9)
    seen = shop.seen
    later = np.flatnonzero(seen.time >= cut)
    columns = {name: getattr(seen, name).copy() for name in ("user", "item", "time", "basket", "quantity", "price")}
    for values in columns.values():
        values[later] = rng.permutation(values[later])
    columns["user"][later] = rng.integers(0, len(seen.users), len(later))
    columns["price"][later] *= 1000
    columns["time"][later] = np.sort(columns["time"][later])
    return Shop(replace(seen, **columns))


class TestNoPeeking:
    def test_features_are_the_same_whatever_follows(self, simulated):
        shop, _ = simulated
        cut = shop.end - PERIOD * DAY
        other = scrambled(shop, cut)
        assert not np.array_equal(other.seen.user, shop.seen.user)
        known, same = (features(some, cut, PERIOD) for some in (shop, other))
        assert known.equals(same)
        assert not known.equals(features(other, shop.end, PERIOD)[: len(known)])

    def test_so_are_the_model_its_calibration_and_its_probabilities(self):
        shop, _ = market(600)
        cut = shop.end - PERIOD * DAY
        first, second = (fitted(some, cut, PERIOD) for some in (shop, scrambled(shop, cut)))
        assert first.losses == second.losses
        assert np.array_equal(first(shop, cut), second(scrambled(shop, cut), cut))

    def test_everyone_known_is_asked_and_only_the_days_after_count(self, simulated):
        shop, _ = simulated
        cut = shop.end - PERIOD * DAY
        users = features(shop, cut, PERIOD).index
        assert users.tolist() == sorted(set(shop.seen.user[shop.seen.time < cut].tolist()))
        outcome = came(shop, users, cut, PERIOD)
        later = set(shop.seen.user[shop.seen.time >= cut].tolist())
        assert outcome.tolist() == [user in later for user in users.tolist()]


class TestBgNbd:
    @pytest.mark.parametrize(("x", "t", "known"), [(0, 0, 50), (2, 30, 60), (5, 40, 100)])
    def test_the_probability_is_the_integral_over_rates_and_chances_to_stop(self, x, t, known):
        r, alpha, a, b = 1.8, 20.0, 1.0, 6.0

        def over_rates(until, comes=lambda rate: 1.0):
            def each(rate):
                return rate**x * np.exp(-rate * until) * comes(rate) * gamma.pdf(rate, r, scale=1 / alpha)

            return quad(each, 0, 3, epsabs=0)[0]

        def over_chances(times):
            return quad(lambda p: times(p) * beta.pdf(p, a, b), 0, 1)[0]

        stay = over_chances(lambda p: (1 - p) ** x)
        stopped = over_chances(lambda p: p * (1 - p) ** (x - 1)) * over_rates(t) if x else 0.0
        comes = stay * over_rates(known, lambda rate: 1 - np.exp(-30 * rate))
        seen = pd.DataFrame({"x": [float(x)], "t": [float(t)], "T": [float(known)]})
        assert BgNbd(r, alpha, a, b).buys(seen, 30)[0] == pytest.approx(
            comes / (stay * over_rates(known) + stopped), rel=1e-4
        )

    def test_purchases_of_one_day_are_one(self, simulated):
        shop, _ = simulated
        seen = histories(Shop(replace(shop.seen, time=shop.seen.time // (400 * DAY) * 400 * DAY)), shop.end)
        assert seen["x"].max() <= 1

    def test_the_true_propensity_is_met_on_average_in_every_tenth(self, simulated):
        shop, rate = simulated
        end = shop.end
        seen = histories(shop, end)
        foretold = BgNbd.fitted(seen).buys(seen, PERIOD)
        true = 1 - np.exp(-rate[seen.index] * PERIOD)
        for tenth in np.array_split(np.argsort(foretold), 10):
            assert foretold[tenth].mean() == pytest.approx(true[tenth].mean(), abs=0.06)


class TestPropensity:
    def test_probabilities_are_calibrated_and_better_than_the_base_rate(self, simulated):
        shop, rate = simulated
        figures, ranked = propensity(shop, PERIOD)
        chosen = next(row for row in figures["rows"] if row["chosen"])
        base = figures["rows"][0]
        assert chosen["log_loss"] < base["log_loss"] - 0.05
        assert figures["gain"]["low"] > 0
        assert figures["auc"]["low"] > 0.7
        assert chosen["calibration_error"] < 0.04
        assert [share for _, share in ranked] == sorted((share for _, share in ranked), reverse=True)
        user, share = (np.array(column) for column in zip(*ranked, strict=True))
        true = 1 - np.exp(-rate[user] * PERIOD)
        for tenth in np.array_split(np.arange(len(user)), 10):
            assert share[tenth].mean() == pytest.approx(true[tenth].mean(), abs=0.1)
        assert share.mean() == pytest.approx(true.mean(), abs=0.03)

    def test_calibration_error_is_the_distance_to_what_was_seen(self):
        outcome = np.arange(1000) % 4 == 0
        assert calibration_error(reliability(np.full(1000, 0.25), outcome)) == pytest.approx(0, abs=0.01)
        assert calibration_error(reliability(np.full(1000, 0.65), outcome)) == pytest.approx(0.4, abs=0.01)

    def test_a_short_history_is_refused_with_its_length(self, simulated):
        shop, _ = simulated
        with pytest.raises(DataError, match="150 days are needed"):
            fitted(shop, int(shop.seen.time[0]) + 80 * DAY, PERIOD)

    def test_too_few_who_came_are_refused(self):
        shop, _ = market(60)
        with pytest.raises(DataError, match="50 who came"):
            fitted(shop, shop.end, PERIOD)


class TestReport:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory) -> Path:
        """Written by the program."""
        shop = market(900)[0].seen
        folder = tmp_path_factory.mktemp("behaviour")
        names = {
            "user": (shop.users, shop.user),
            "product_id": (shop.items, shop.item),
            "title": (shop.titles, shop.item),
        }
        table = pd.DataFrame({name: np.array(known)[place] for name, (known, place) in names.items()})
        events = folder / "events.csv"
        table.assign(time=shop.time, price=5.0).to_csv(events, index=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "sys.argv", ["behaviour", "--interactions", str(events), "--out", str(folder), "--currency", "€"]
            )
            assert main() == OK
        return folder

    def test_the_page_stands_alone_and_has_its_chapters(self, folder):
        page = (folder / "report.html").read_text()
        for chapter in ("glance", "segments", "repeats", "together", "trends", "propensity", "words"):
            assert f'href="#{chapter}"' in page
            assert f'id="{chapter}"' in page
        assert page.count("<svg") == 8
        assert "€" in page
        for outside in ("<script", "<link", "src=", "url(http", "@import"):
            assert outside not in page

    def test_nobody_is_named(self, folder):
        for file in ("report.html", "figures.json", "propensity.csv"):
            assert "secret" not in (folder / file).read_text()

    def test_figures_and_forecast_are_of_everyone(self, folder):
        figures = json.loads((folder / "figures.json").read_text())
        assert list(figures) == ["glance", "segments", "repeats", "together", "trends", "propensity"]
        forecast = pd.read_csv(folder / "propensity.csv")
        assert len(forecast) == figures["glance"]["users"] == forecast.user_number.nunique()
        assert forecast.probability.between(0, 1).all()
        assert len(list((folder / "plots").glob("*.png"))) == 8

    def test_without_prices_pieces_stand_in(self, tmp_path):
        shop = market(600)[0].seen
        unpriced = replace(shop, price=np.full(len(shop), np.nan, np.float32))
        figures, forecast = behaviour(unpriced, PERIOD, Console(quiet=True))
        assert figures["glance"]["value"] == "pieces"
        assert figures["glance"]["revenue"] == len(shop)
        write_report(tmp_path, figures, forecast, "a < b", "€")
        page = (tmp_path / "report.html").read_text()
        assert "€" not in page
        assert "A &lt; b" in page

    def test_a_missing_file_is_said_in_a_sentence(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("sys.argv", ["behaviour", "--interactions", str(tmp_path / "no.csv")])
        assert main() == BAD_INPUT
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "no.csv cannot be read" in said

    @pytest.mark.parametrize("days", ["0", "-3", "soon", "400"])
    def test_a_horizon_is_a_number_of_days(self, days, monkeypatch, capsys):
        monkeypatch.setattr("sys.argv", ["behaviour", "--interactions", "any.csv", "--horizon", days])
        with pytest.raises(SystemExit):
            main()
        assert "not a number of days from 1 to 365" in capsys.readouterr().err


@pytest.mark.skipif(not REAL.exists(), reason="Online Retail is not beside this checkout")
def test_features_of_a_real_shop_know_nothing_of_what_follows():
    shop = Shop(read(REAL))
    cut = shop.end - PERIOD * DAY
    known, same = (features(some, cut, PERIOD) for some in (shop, scrambled(shop, cut)))
    assert known.equals(same)
