"""The live page: frames for sound, the slider, refusals that harm nobody else, places, token."""

import json
import struct
import threading
from functools import partialmethod

import pytest
import torch

from stereotalker_core import cli
from stereotalker_core.commands import serve
from stereotalker_core.pipeline import View

pytest.importorskip("fastapi")
pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def identity(tiny_models):
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

    avatar = make_avatar(tiny_models.body, 3)
    return true_identity(tiny_models.body, avatar, reference_portrait(tiny_models.body, avatar, 3, 128))


@pytest.fixture
def client(tiny_models, identity):
    from starlette.testclient import TestClient

    with TestClient(serve.make_app(tiny_models, identity, View(size=128), None, clients=2)) as client:
        yield client


def block(stamp: int = 7, samples: int = 640) -> bytes:
    return struct.pack(">I", stamp) + (torch.rand(samples) * 9000).short().numpy().tobytes()


def unpacked(data: bytes) -> tuple[int, bytes, bytes]:
    stamp, length = struct.unpack(">II", data[:8])
    return stamp, data[8 : 8 + length], data[8 + length :]


def test_page_health_and_frames(client):
    page = client.get("/").text
    assert (
        "Synthetic media" in page and 'type="range"' in page and client.get("/health").json() == {"clients": 0, "of": 2}
    )
    with client.websocket_connect("/live") as socket:
        for _ in range(12):
            socket.send_bytes(block())
        socket.send_text(json.dumps({"yaw": 30}))
        found = [unpacked(socket.receive_bytes()) for _ in range(15)]
        assert all(picture[:3] == b"\xff\xd8\xff" for _, _, picture in found)
        assert any(len(sound) == 1280 and stamp == 7 for stamp, sound, _ in found)
        socket.send_text(json.dumps({"interrupt": True}))
        assert client.get("/health").json()["clients"] == 1
    assert client.get("/health").json()["clients"] == 0


BAD = [b"", b"1234", b"12345", block(samples=20000), "no json", "[]", "{}", '{"yaw": "left"}', '{"yaw": 999}',
       '{"volume": 3}', "x" * 2000, '{"yaw": NaN}']  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_fault_closes_its_own_connection_alone(client, bad):
    from starlette.websockets import WebSocketDisconnect

    with client.websocket_connect("/live") as good:
        with client.websocket_connect("/live") as socket:
            (socket.send_bytes if isinstance(bad, bytes) else socket.send_text)(bad)
            with pytest.raises(WebSocketDisconnect) as closed:
                while True:
                    message = socket.receive()
                    socket._raise_on_close(message)
            assert closed.value.code == 4400 and closed.value.reason
        good.send_bytes(block())
        assert unpacked(good.receive_bytes())[2][:3] == b"\xff\xd8\xff"


def test_what_cannot_be_drawn_closes_that_connection_and_says_so(client, monkeypatch, capsys):
    """A fault in a thread that draws: its client is told, the others are served, the server goes on."""
    from starlette.websockets import WebSocketDisconnect

    from stereotalker_core.live import Live

    def broken(*given):
        raise ArithmeticError("no picture")

    with client.websocket_connect("/live") as good:
        assert unpacked(good.receive_bytes())[2]
        with monkeypatch.context() as patch:
            patch.setattr(Live, "__init__", partialmethod(_with_broken, Live.__init__, broken))
            with client.websocket_connect("/live") as socket, pytest.raises(WebSocketDisconnect) as closed:
                while True:
                    socket._raise_on_close(socket.receive())
        assert closed.value.code == 1011 and "log" in closed.value.reason
        assert unpacked(good.receive_bytes())[2]
    assert "ArithmeticError: no picture" in capsys.readouterr().err
    with client.websocket_connect("/live") as again:
        assert again.receive_bytes()


def _with_broken(self, begin, broken, *args) -> None:
    begin(self, *args)
    self._drawn = broken


def test_no_thread_is_left_after_twenty_sessions(tiny_models, identity):
    """Threads belong to the server, not to connections, and end with it."""
    from starlette.testclient import TestClient

    before = threads()
    with TestClient(serve.make_app(tiny_models, identity, View(size=128))) as client:
        counts = []
        for _ in range(20):
            with client.websocket_connect("/live") as socket:
                socket.send_bytes(block())
                assert socket.receive_bytes()
            counts.append(len(threads() - before))
        assert counts[-1] == counts[0] == 4
    assert threads() == before


def threads() -> set[threading.Thread]:
    """Those that draw and encode; test clients have others."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("live ")}


def test_more_clients_than_places_are_refused(client):
    from starlette.websockets import WebSocketDisconnect

    with client.websocket_connect("/live"), client.websocket_connect("/live"):
        for _ in range(18):
            with client.websocket_connect("/live") as third, pytest.raises(WebSocketDisconnect) as closed:
                third.receive_bytes()
            assert closed.value.code == 4429
    assert client.get("/health").json()["clients"] == 0


def test_token_and_origin(tiny_models, identity):
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    client = TestClient(serve.make_app(tiny_models, identity, View(size=128), "long enough"))
    for words in ("/live", "/live?token=wrong"):
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(words):
            pass
        assert closed.value.code == 4401
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/live?token=long enough", headers={"origin": "http://elsewhere"}),
    ):
        pass
    with client.websocket_connect("/live?token=long enough", headers={"origin": "http://testserver"}) as socket:
        assert socket.receive_bytes()


def test_beyond_loopback_needs_a_token(capsys):
    assert serve.checked_token("127.0.0.1", None) is None and serve.checked_token("localhost", None) is None
    assert len(serve.checked_token("0.0.0.0", "auto")) > 16
    for host, token in (("0.0.0.0", None), ("example.org", None), ("127.0.0.1", "short")):
        with pytest.raises(ValueError, match="--token"):
            serve.checked_token(host, token)
    line = ["serve", "--identity", "x.safetensors"]
    for more in (["--port", "0"], ["--clients", "0"], ["--host", "0.0.0.0"], []):
        assert cli.main([*line, *more]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
