"""The command lines for shelves, events and a user's data."""

import io
import json

import grpc
import pytest

from clients import events, profile, recommend
from shelfbridge.contract import PERMISSION
from tests.unit.scripted_server import fails, serve
from tests.unit.test_client_shopper import receipts, reply, sent, shelf


@pytest.fixture
def address(monkeypatch):
    """Of a server that fills shelves."""
    with serve(shelf) as server:
        monkeypatch.setenv("SHELFBRIDGE_ADDRESS", server.address)
        yield server


class TestRecommend:
    def test_shows_the_kind_and_what_is_tried_out(self, address, capsys):
        assert recommend.main(["--items", "a,b", "-k", "2", "--filter", "in_stock=true"]) == 0
        said = capsys.readouterr().out
        assert said.startswith("for you\n")
        assert "b  tried out" in said
        assert sent(address.seen[0])["items"] == ([1, 2], [b"a", b"b"])

    def test_json(self, address, capsys):
        assert recommend.main(["--user", "u", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["shown"] == "for_you"

    def test_bad_filters_and_no_server(self, capsys):
        assert recommend.main(["--filter", "colour=red"]) == 2
        assert recommend.main(["--address", "localhost:9", "--timeout", "0.2"]) == 3
        assert "error: " in capsys.readouterr().err


class TestEvents:
    @pytest.fixture
    def server(self, monkeypatch):
        with serve(receipts) as server:
            monkeypatch.setenv("SHELFBRIDGE_ADDRESS", server.address)
            yield server

    def test_refused_rows_are_named_by_line(self, server, tmp_path, capsys):
        file = tmp_path / "events.jsonl"
        file.write_text('\n{"event_id": "a", "user_token": "t"}\n\n{"event_id": "b"}\n')
        assert events.main([str(file)]) == 1
        said = capsys.readouterr().err
        assert "events.jsonl, line 2: no good" in said
        assert "1 events kept, 1 refused" in said
        values = sent(server.seen[0])
        assert values["user_tokens"] == ([2], [b"t", b""])
        assert json.loads(values["events"][1][0]) == {"event_id": "a"}

    def test_from_standard_input(self, server, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO("{}\n" * 1001))
        assert events.main(["-"]) == 1
        assert len(server.seen) == 2

    @pytest.mark.parametrize("text", ["[1]\n", "{\n", "null"])
    def test_nothing_is_sent_of_a_file_that_is_none(self, server, tmp_path, capsys, text):
        file = tmp_path / "events.jsonl"
        file.write_text('{"event_id": "a"}\n' + text)
        assert events.main([str(file)]) == 2
        assert "line 2: not a JSON object; nothing was sent" in capsys.readouterr().err
        assert not server.seen
        assert events.main([str(tmp_path / "none")]) == 2


class TestProfile:
    def test_export_and_forget(self, monkeypatch, capsys):
        with serve(lambda seen, context: reply(seen, record=['{"recent": ["靴"]}'])) as server:
            monkeypatch.setenv("SHELFBRIDGE_ADDRESS", server.address)
            assert profile.main(["export", "u7"]) == 0
            assert profile.main(["forget", "u7", "--user-token", "t"]) == 0
            assert [sent(seen)["action"][1] for seen in server.seen] == [[b"export"], [b"forget"]]
        assert capsys.readouterr().out.count("靴") == 2

    def test_a_refusal_is_a_line(self, monkeypatch, capsys):
        with serve(fails(grpc.StatusCode.INVALID_ARGUMENT, f"{PERMISSION}no")) as server:
            monkeypatch.setenv("SHELFBRIDGE_ADDRESS", server.address)
            assert profile.main(["export", "u7"]) == 3
        said = capsys.readouterr().err
        assert "refused the credentials" in said
        assert "u7" not in said
