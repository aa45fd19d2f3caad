"""`python -m clients.search` against a scripted server: what it prints, writes and returns."""

import json
import subprocess
import sys

import pytest
from grpc import StatusCode

from clients.search import main, parse_filters
from shelfbridge.contract import STEPS
from shelfbridge.errors import SettingsError
from shelfbridge.request import Filters
from tests.unit.scripted_server import fails, found, reply, serve

REFUSED = fails(StatusCode.INVALID_ARGUMENT, "query is empty; send at least one visible character")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("ADDRESS", "TIMEOUT", "RETRIES", "TOKEN", "TOKEN_FILE", "TLS", "TLS_ROOT", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"SHELFBRIDGE_{name}", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def server(monkeypatch):
    with serve() as running:
        monkeypatch.setenv("SHELFBRIDGE_ADDRESS", running.address)
        yield running


def by_text(seen, context):
    """No answer for "", none for "down", else three products."""
    text = seen.inputs["query"][2]
    return {b"": REFUSED, b"down": fails(StatusCode.INTERNAL, "oh")}.get(text, found)(seen, context)


def test_prints_a_table(server, capsys):
    assert main(["hiking boots", "-k", "2"]) == 0
    out = capsys.readouterr().out
    assert "[bold]Boot P1[/bold] 靴" in out
    assert "9.50 sold out" in out
    assert "0.500" in out
    assert (
        "2 products · preprocess 0.0 · encoder 1.0 · retrieve 2.0 · ranker 3.0 · postprocess 4.0 · server 10.0" in out
    )
    assert " ms" in out


def test_terminal_commands_in_a_title_are_not_passed_on(monkeypatch, capsys):
    evil = reply("search", ["P1"], payload=[json.dumps({"title": "\x1b[2Jboo\x07t"})])
    with serve(lambda seen, context: evil) as server:
        assert main(["boots", "--address", server.address]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "boo t" in out


def test_prints_json(server, capsys):
    assert main(["hiking boots", "-k", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [hit["product_id"] for hit in printed["hits"]] == ["P1", "P2"]
    assert printed["hits"][0]["product"]["price"] == 9.5
    assert tuple(printed["steps"]) == STEPS["search"]
    assert printed.keys() == {"hits", "steps", "model_version", "request_id", "round_trip_ms", "attempts"}


def test_passes_everything_on(server, capsys):
    flags = ["--filter", "category=Footwear", "--filter", "price_max=80", "--filter", "in_stock=true"]
    assert main(["boots", *flags, "--user", "u", "--deep", "--timeout", "1.5"]) == 0
    seen = server.seen[0]
    assert seen.request.model_name == "search_deep"
    expected = Filters(category="Footwear", price_max=80.0, in_stock=True)
    assert Filters.parse(seen.inputs["filters"][2]) == expected
    assert seen.inputs["user"][2] == b"u"
    assert 1 < seen.time_left < 1.6


def test_token_from_the_environment_or_a_file(server, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SHELFBRIDGE_TOKEN", "from-env")
    (tmp_path / "token").write_text("from-file\n")
    assert main(["boots", "-v"]) == 0
    assert main(["boots", "-v", "--token-file", str(tmp_path / "token")]) == 0
    assert [seen.metadata["authorization"] for seen in server.seen] == ["Bearer from-env", "Bearer from-file"]
    printed = "".join(capsys.readouterr())
    assert "from-env" not in printed
    assert "from-file" not in printed
    assert f"address={server.address}" in printed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give either a query or --queries"),
        (["boots", "--queries", "q.tsv"], "give either a query or --queries"),
        (["boots", "--run", "out"], "--run goes with --queries"),
        (["--queries", "q.tsv"], "--queries needs --run"),
        (["--queries", "q.tsv", "--run", "out", "--json"], "go with one query"),
        (["--queries", "q.tsv", "--run", "out", "--concurrency", "0"], "give 1 or more"),
        (["--queries", "q.tsv", "--run", "out", "--tag", "a b"], "give one word"),
        (["boots", "-k", "ten"], "invalid int value"),
    ],
)
def test_usage(arguments, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["boots", "--filter", "colour=red"], "known fields: category, brand"),
        (["boots", "--filter", "price_max"], "give field=value"),
        (["boots", "--filter", "price_max=cheap"], "price_max=cheap: Input should be a valid number"),
        (["boots", "--filter", "price_min=9", "--filter", "price_max=1"], "above price_max"),
        (["boots", "--timeout", "soon"], "settings: timeout: Input should be a valid number"),
        (["boots", "--tls-root", "/no/such.pem"], "root certificates /no/such.pem: No such file"),
        (["boots", "--token-file", "/no/such"], "token file /no/such: No such file"),
        (["--queries", "/no/such.tsv", "--run", "out"], "/no/such.tsv: No such file"),
    ],
)
def test_bad_input(arguments, reason, capsys):
    assert main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_filters_are_read_by_their_type():
    assert parse_filters([]) is None
    assert parse_filters(["brand=A=B", "price_min=0"]) == Filters(brand="A=B", price_min=0.0)
    with pytest.raises(SettingsError, match="each field once"):
        parse_filters(["brand=A", "brand=B"])


def test_a_refused_query_is_bad_input(capsys):
    with serve(REFUSED) as server:
        assert main(["", "--address", server.address]) == 2
    assert "error: query is empty; send" in capsys.readouterr().err


@pytest.mark.parametrize("batch", [False, True])
def test_no_server(batch, tmp_path, capsys):
    (tmp_path / "q.tsv").write_text("1\tboots\n")
    work = ["--queries", str(tmp_path / "q.tsv"), "--run", str(tmp_path / "run")] if batch else ["boots"]
    assert main([*work, "--address", "localhost:1"]) == 3
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def run_batch(folder, content, *flags):
    (folder / "q.tsv").write_bytes(content)
    return main(["--queries", str(folder / "q.tsv"), "--run", str(folder / "run.trec"), *flags])


def test_writes_a_run(server, tmp_path, capsys):
    assert run_batch(tmp_path, "\ufeff1\thiking boots\r\nq2\t靴\n\n".encode(), "-k", "2", "--tag", "mine") == 0
    assert (tmp_path / "run.trec").read_text() == (
        "1 Q0 P1 1 1 mine\n1 Q0 P2 2 0.5 mine\nq2 Q0 P1 1 1 mine\nq2 Q0 P2 2 0.5 mine\n"
    )
    assert sorted(seen.inputs["query"][2] for seen in server.seen) == sorted([b"hiking boots", "靴".encode()])
    assert not any(seen.inputs["with_payload"][2] for seen in server.seen)
    assert "2 queries answered, 0 failed" in capsys.readouterr().err


def test_keeps_the_order_of_the_file(server, tmp_path):
    lines = "".join(f"{n}\tboots {n}\n" for n in range(40))
    assert run_batch(tmp_path, lines.encode(), "-k", "1", "--concurrency", "8") == 0
    assert [line.split()[0] for line in (tmp_path / "run.trec").read_text().splitlines()] == [str(n) for n in range(40)]


def test_reports_what_fails_and_keeps_the_rest(tmp_path, capsys):
    content = b"1\tboots\nno tab\n2 3\tblank in id\n\tno id\n1\tagain\n4\t\xff\n5\t\n6\tdown\n7\tlast\n"
    with serve(by_text) as server:
        assert run_batch(tmp_path, content, "-k", "1", "--address", server.address) == 1
    err = capsys.readouterr().err
    reports = [line.split("q.tsv, ")[1] for line in err.splitlines() if "q.tsv, " in line]
    assert reports[:5] == [
        "line 2: no tab between id and text",
        "line 3: the id is empty or holds blanks",
        "line 4: the id is empty or holds blanks",
        "line 5: id '1' was given on line 1",
        "line 6: not UTF-8 (byte 2)",
    ]
    assert reports[5].startswith("line 7: query is empty; send")
    assert reports[6].startswith("line 8: localhost")
    assert "2 queries answered, 7 failed" in err
    assert (tmp_path / "run.trec").read_text() == "1 Q0 P1 1 1 shelfbridge\n7 Q0 P1 1 1 shelfbridge\n"


def test_a_product_id_that_a_run_cannot_hold(tmp_path, capsys):
    with serve(lambda seen, context: reply("search", ["P 1"])) as server:
        assert run_batch(tmp_path, b"1\tboots\n", "--address", server.address) == 1
    assert "line 1: product id 'P 1' holds blanks" in capsys.readouterr().err


def test_leaves_an_old_run_alone_when_nothing_is_answered(tmp_path):
    (tmp_path / "run.trec").write_text("old")
    with serve(REFUSED) as server:
        assert run_batch(tmp_path, b"1\tboots\n", "--address", server.address) == 1
    assert (tmp_path / "run.trec").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"q.tsv", "run.trec"}


def test_refuses_where_nothing_can_be_written_before_it_searches(server, tmp_path, capsys):
    (tmp_path / "q.tsv").write_text("1\tboots\n")
    assert main(["--queries", str(tmp_path / "q.tsv"), "--run", str(tmp_path / "no" / "run")]) == 2
    assert "no such folder; make" in capsys.readouterr().err
    assert not server.seen


def test_an_empty_file(server, tmp_path, capsys):
    assert run_batch(tmp_path, b"\n") == 2
    assert "nothing in it" in capsys.readouterr().err


def test_as_a_program(server):
    """Quiet on stderr, and the help teaches."""
    command = [sys.executable, "-m", "clients.search"]
    done = subprocess.run([*command, "boots", "-k", "1"], capture_output=True, text=True, check=True)
    assert "Boot P1" in done.stdout
    assert done.stderr == ""
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--filter category=Footwear" in told
    assert "exit status" in told
