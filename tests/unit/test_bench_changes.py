"""The program that measures changes measures a copy, and what it says it does."""

import json

import pytest

from build.change import status
from loadtests.lab import changes
from tests.functional import tiny
from tests.functional.tiny_release import publish_tiny


def test_a_copy_is_changed_and_each_row_is_of_its_products(tmp_path, monkeypatch, capsys):
    release = publish_tiny(tmp_path)
    file = tmp_path / "products.jsonl"
    file.write_text("".join(f"{product.model_dump_json()}\n" for product in tiny.catalogue()))
    out = tmp_path / "out"
    arguments = ["--release", str(release), "--catalogue", str(file), "--products", "1", "5", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["changes", *arguments])
    changes.main()
    rows = json.loads((out / "changes.json").read_text())["costs"]
    assert [row["products"] for row in rows] == [0, 1, 5]
    assert all(row[name] > 0 for row in rows[1:] for name in ("text", "price", "seen", "p50", "p99"))
    assert (out / "changes.md").read_text().strip() == capsys.readouterr().out.strip()
    assert status(release).generation is None
    assert sorted(path.name for path in out.iterdir()) == ["changes.json", "changes.md"]


def test_another_catalogue_is_refused(tmp_path, monkeypatch):
    release = publish_tiny(tmp_path)
    products = tiny.catalogue()
    products[0] = products[0].model_copy(update={"product_id": "other"})
    file = tmp_path / "products.jsonl"
    file.write_text("".join(f"{product.model_dump_json()}\n" for product in products))
    arguments = ["--release", str(release), "--catalogue", str(file), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["changes", *arguments])
    with pytest.raises(SystemExit, match=r"built from another catalogue than .*products.jsonl"):
        changes.main()


def test_a_release_that_is_none_is_named(tmp_path, monkeypatch):
    file = tmp_path / "products.jsonl"
    file.write_text('{"product_id": "1", "title": "lamp"}\n')
    arguments = ["--release", str(tmp_path), "--catalogue", str(file), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["changes", *arguments])
    with pytest.raises(SystemExit, match=r"error: .* is not a release"):
        changes.main()
