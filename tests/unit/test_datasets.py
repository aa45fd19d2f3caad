"""The readers of published sets, on tiny files in the published formats; and of a real subset where there is one."""

import os
import socket
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from build import datasets
from build.data.foreign import read_pairs
from build.data.published import PUBLISHED, Published, download, esci, wands
from build.datasets import subset, write, write_pairs
from shelfbridge.catalogue import (
    Catalogue,
    Judgment,
    Judgments,
    Label,
    Product,
    read_catalogue,
    read_judgments,
    split_of,
)
from shelfbridge.errors import DataError
from shelfbridge.program import BAD_INPUT, OK


def write_esci(folder: Path) -> None:
    products = [
        {
            "product_id": f"{locale.upper()}{n}",
            "product_title": f"Kettle {n}",
            "product_description": None,
            "product_bullet_point": "Boils water\nQuickly",
            "product_brand": "Brumsk",
            "product_color": "red" if n else None,
            "product_locale": locale,
        }
        for locale in ("us", "jp")
        for n in range(4)
    ]
    products.append({**products[0], "product_id": "US9", "product_title": None})
    examples = [
        {
            "example_id": n,
            "query": f"tea kettle {n // 4}",
            "query_id": n // 4,
            "product_id": "US9" if n == 5 else f"{locale.upper()}{n % 4}",
            "product_locale": locale,
            "esci_label": "ESCI"[n % 4],
            "small_version": int(n < 100),
            "large_version": 1,
            "split": "test" if n % 12 < 4 else "train",
        }
        for locale in ("us", "jp")
        for n in range(120)
    ]
    pq.write_table(pa.Table.from_pylist(products), folder / "shopping_queries_dataset_products.parquet")
    pq.write_table(pa.Table.from_pylist(examples), folder / "shopping_queries_dataset_examples.parquet")


def write_wands(folder: Path) -> None:
    (folder / "product.csv").write_text(
        "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\t"
        "rating_count\taverage_rating\treview_count\n"
        '0\tsolid wood platform bed\tBeds\tFurniture / Beds\t"a ""deep"" sleep"\tlegs : 4\t15.0\t4.5\t15.0\n'
        "1\tslow cooker\tCookers\t\t\t\t\t\t\n",
        encoding="utf-8",
    )
    (folder / "query.csv").write_text("query_id\tquery\tquery_class\n0\twood bed\tBeds\n", encoding="utf-8")
    (folder / "label.csv").write_text(
        "id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tExact\n1\t0\t1\tIrrelevant\n2\t0\t7\tPartial\n3\t5\t1\tExact\n",
        encoding="utf-8",
    )


def written(folder: Path) -> tuple[Catalogue, Judgments]:
    """What `write` left in a folder."""
    catalogue = read_catalogue(folder / "products.parquet")
    return catalogue, read_judgments(folder / "judgments.parquet", catalogue)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_esci_takes_one_locale_of_the_small_version(tmp_path: Path) -> None:
    write_esci(tmp_path)
    catalogue, judgments = esci(tmp_path, allow_other=True)
    assert {product.product_id for product in catalogue.products} == {"US0", "US1", "US2", "US3"}
    assert len(judgments.queries) == 25
    assert catalogue.products[1].color == "red"
    assert catalogue.products[0].bullet_points == "Boils water Quickly"
    assert judgments.by_query["0"] == {"US0": "E", "US1": "S", "US2": "C", "US3": "I"}
    assert len(esci(tmp_path, small_version=False, allow_other=True)[1].queries) == 30


def test_esci_reports_what_it_leaves_out(tmp_path: Path) -> None:
    write_esci(tmp_path)
    catalogue, judgments = esci(tmp_path, allow_other=True)
    assert [rejection.reason.split(":")[0] for rejection in catalogue.rejected] == ["title"]
    assert [rejection.reason for rejection in judgments.rejected] == ["product_id: 'US9' is not in the catalogue"]


def test_esci_keeps_the_published_test_split_and_carves_dev_from_train(tmp_path: Path) -> None:
    write_esci(tmp_path)
    judgments = esci(tmp_path, small_version=False, allow_other=True)[1]
    assert set(judgments.of("test").queries) == {str(n) for n in range(0, 30, 3)}
    parts = [set(judgments.of(split).queries) for split in ("train", "dev", "test")]
    assert parts[1]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30


def test_esci_refuses_other_files(tmp_path: Path) -> None:
    write_esci(tmp_path)
    with pytest.raises(DataError, match=r"examples.parquet: not the published file"):
        esci(tmp_path)


def test_esci_says_where_a_missing_file_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file. Fetch https://github.com/amazon-science/esci-data/"):
        esci(tmp_path)


def test_esci_names_the_locales_there_are(tmp_path: Path) -> None:
    write_esci(tmp_path)
    with pytest.raises(DataError, match="nothing is judged in locale 'de'; the published ones are us, es and jp"):
        esci(tmp_path, locale="de", allow_other=True)


def test_esci_refuses_a_file_without_a_needed_column(tmp_path: Path) -> None:
    write_esci(tmp_path)
    path = tmp_path / "shopping_queries_dataset_products.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["product_title"]), path)
    with pytest.raises(DataError, match=r"products.parquet: not readable as the published"):
        esci(tmp_path, allow_other=True)


def test_wands_maps_its_labels_and_categories(tmp_path: Path) -> None:
    write_wands(tmp_path)
    catalogue, judgments = wands(tmp_path)
    bed, cooker = catalogue.products
    assert (bed.title, bed.category, bed.rating, bed.rating_count) == (
        "solid wood platform bed",
        ("Furniture", "Beds"),
        4.5,
        15,
    )
    assert bed.description == 'a "deep" sleep'
    assert (cooker.category, cooker.rating, cooker.rating_count) == ((), None, None)
    assert judgments.by_query == {"0": {"0": Label.EXACT, "1": Label.IRRELEVANT}}
    assert {row.split for row in judgments.rows} == {split_of("wood bed")}
    assert len(judgments.rejected) == 2


def test_wands_refuses_a_file_without_a_needed_column(tmp_path: Path) -> None:
    write_wands(tmp_path)
    (tmp_path / "query.csv").write_text("query_id,query\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"query.csv: column query_id, query is missing"):
        wands(tmp_path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_wands(tmp_path)
    catalogue, judgments = wands(tmp_path)
    write(tmp_path / "ours", catalogue, judgments)
    again, judged = written(tmp_path / "ours")
    assert again.products == catalogue.products
    assert judged.rows == judgments.rows


def test_a_subset_has_whole_queries_of_every_split(tmp_path: Path) -> None:
    write_esci(tmp_path)
    products = pq.read_table(tmp_path / "shopping_queries_dataset_products.parquet").to_pylist()
    examples = pq.read_table(tmp_path / "shopping_queries_dataset_examples.parquet").to_pylist()
    for row in examples:  # no product is of two queries
        row["product_id"] += f"-{row['query_id']}"
    products = [{**row, "product_id": f"{row['product_id']}-{n}"} for row in products for n in range(30)]
    pq.write_table(pa.Table.from_pylist(products), tmp_path / "shopping_queries_dataset_products.parquet")
    pq.write_table(pa.Table.from_pylist(examples), tmp_path / "shopping_queries_dataset_examples.parquet")
    catalogue, judgments = esci(tmp_path, small_version=False, allow_other=True)
    some, judged = subset(catalogue, judgments, 62)
    assert len(some.products) == 60
    assert some.rows_of.keys() == {row.product_id for row in judged.rows}
    assert all(judged.by_query[query] == judgments.by_query[query] for query in judged.queries)
    assert {row.split for row in judged.rows} == {"train", "dev", "test"}
    assert subset(catalogue, judgments, 20)[1].queries.items() <= judged.queries.items()


class Rows(tuple):
    """Judgments that count how often one of them is looked at."""

    looked = 0

    def __iter__(self):
        for row in super().__iter__():
            Rows.looked += 1
            yield row


def test_a_subset_looks_at_every_judgment_a_few_times_however_many_queries_there_are() -> None:
    queries, each = 300, 4
    products = tuple(Product(product_id=f"p{n}", title=f"lamp {n}") for n in range(queries * each))
    rows = Rows(
        Judgment(query_id=f"q{query}", query=f"lamp {query}", product_id=f"p{n}", label=Label.EXACT, split="dev")
        for n, query in ((n, n // each) for n in range(queries * each))
    )
    Rows.looked = 0
    some, judged = subset(Catalogue(products), Judgments(rows), 600)
    assert len(some.products) == len(judged.rows) == 600
    assert Rows.looked <= 5 * len(rows)


def test_a_subset_without_room_for_a_query_is_refused(tmp_path: Path) -> None:
    write_esci(tmp_path)
    with pytest.raises(DataError, match="--products 3 is less than one query's judged products"):
        subset(*esci(tmp_path, allow_other=True), 3)


def test_pairs_are_balanced_and_what_a_build_reads(tmp_path: Path) -> None:
    write_esci(tmp_path)
    data = esci(tmp_path, allow_other=True)
    path = tmp_path / "pairs.parquet"
    assert write_pairs(path, *data, 12) == 12
    gains = sorted(pair.gain for pair in read_pairs(path).rows)
    assert max(gains[:6]) < min(gains[6:])
    labels = {(row.query, row.product_id): row.label for row in data[1].rows}
    names = {product.title: product.product_id for product in data[0].products}
    assert all(pair.gain == labels[pair.query, names[pair.name]].gain for pair in read_pairs(path).rows)
    kettles = {"tea kettle 0 Kettle 0", "tea kettle 0 Kettle 1"}
    assert write_pairs(path, *data, 10**6) == 2 * 49
    relevant = {f"{pair.query} {pair.name}" for pair in read_pairs(path).rows if pair.gain >= 0.1}
    assert kettles <= relevant
    with pytest.raises(DataError, match=r"pairs.parquet: no pairs; --pairs needs 2 or more"):
        write_pairs(path, *data, 1)


def test_download_offline_names_address_folder_and_cause(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}/"
    with pytest.raises(DataError) as raised:
        download("wands", tmp_path, address)
    for part in (address + "product.csv", str(tmp_path), "refused"):
        assert part in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server on this machine that offers one file; `full` says how much of it arrives."""
    body = b"the published file"

    class Handler(BaseHTTPRequestHandler):
        full = True

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.full else body[:5])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    published = Published(f"http://127.0.0.1:{server.server_port}", {"file.csv": sha256(body).hexdigest()})
    monkeypatch.setitem(PUBLISHED, "wands", published)
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("mirror")
def test_download_keeps_a_whole_file_and_does_not_fetch_it_twice(tmp_path: Path) -> None:
    download("wands", tmp_path)
    assert (tmp_path / "file.csv").read_bytes() == b"the published file"
    download("wands", tmp_path, address=f"http://127.0.0.1:{closed_port()}/")
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_download_refuses_half_a_file(tmp_path: Path, mirror) -> None:
    mirror.full = False
    with pytest.raises(DataError, match="ended after 5 of 18 bytes"):
        download("wands", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("mirror")
def test_download_refuses_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED, "wands", Published(PUBLISHED["wands"].address, {"file.csv": "0" * 64}))
    with pytest.raises(DataError, match=r"not the published file"):
        download("wands", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wands(tmp_path)
    arguments = ["datasets", "wands", "--folder", str(tmp_path), "--out", str(tmp_path / "ours")]
    arguments += ["--products", "2", "--pairs", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    assert datasets.main() == OK
    assert len(written(tmp_path / "ours")[1].rows) == 2
    assert [pair.name for pair in read_pairs(tmp_path / "ours/pairs.parquet").rows] == [
        "solid wood platform bed",
        "slow cooker",
    ]
    (tmp_path / "label.csv").unlink()
    assert datasets.main() == BAD_INPUT


def test_a_real_subset() -> None:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("SHELFBRIDGE_DATA", beside)) / "esci_us"
    if not (folder / "judgments.parquet").is_file():
        pytest.skip("no ESCI subset here; set SHELFBRIDGE_DATA to the folder that holds esci_us/")
    catalogue, judgments = written(folder)
    assert not catalogue.rejected
    assert not judgments.rejected
    assert {row.label for row in judgments.rows} == set(Label)
    assert judgments.of("train").queries.keys().isdisjoint(judgments.of("dev").queries)
