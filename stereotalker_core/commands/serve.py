"""`serve`: a page that shows a person who says what a microphone or a file says, live, from the yaw of a slider.

Needs `pip install '.[serve]'`. One WebSocket a client: sound in, frames out. Local by default; beyond
loopback a token is needed. Everything that a client sends is checked, and its faults close its own connection alone.
"""

import argparse
import asyncio
import hmac
import ipaddress
import json
import math
import secrets
import struct
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import torch

from ..live import AHEAD, HOP, TOGETHER, Beat, Crew, Live, LiveFrame, Part
from ..pipeline import Models, View
from ..records import Identity
from ..shapes import SAMPLE_RATE
from .talking.inputs import parse_size

PAGE = Path(__file__).parent / "page" / "live.html"
LARGEST = 4 + 2 * SAMPLE_RATE  # bytes of a message: a stamp and a second of sound
FASTEST = 2.0  # times real time that a client may send for long
MESSAGES = 200  # a second, of a client
EXAMPLES = """examples:
  serve --identity me.safetensors
  serve --identity me.safetensors --host 0.0.0.0 --token auto --clients 4
"""


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `serve`."""
    serve = commands.add_parser(
        "serve", help="a live person on a page", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    serve.add_argument("--identity", required=True, metavar="P.safetensors", help="talk --save-identity writes one")
    serve.add_argument("--host", default="127.0.0.1", metavar="H", help="default 127.0.0.1: this machine alone")
    serve.add_argument("--port", type=int, default=8765, metavar="N", help="1..65535; default 8765")
    serve.add_argument("--token", metavar="T", help="what clients must know; auto makes one; needed beyond loopback")
    serve.add_argument("--size", default="256", metavar="N", help="as in talk")
    serve.add_argument(
        "--clients", type=int, default=2, metavar="N", help="at once, 1..100; more are refused; default 2"
    )
    serve.add_argument("--device", default="auto", metavar="D", help="as in talk")
    serve.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the options, load the networks, serve until stopped."""
    from .talking.talk import device
    from .talking.workshop import saved_person

    if not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be 1..65535, got {args.port}")
    if not 1 <= args.clients <= 100:
        raise ValueError(f"--clients must be 1..100, got {args.clients}")
    token = checked_token(args.host, args.token)
    view = View(size=parse_size(args.size))
    identity = saved_person(args.identity)
    try:
        import uvicorn
    except ImportError as error:
        raise ValueError("serve needs FastAPI and uvicorn: pip install '.[serve]' in the clone") from error
    app = make_app(Models.load_nano(device(args), mode="play"), identity, view, token, args.clients)
    shown = f"?token={token}" if token else ""
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))  # each of the threads that draw at once takes so many
    print(f"http://{args.host}:{args.port}/{shown}")
    uvicorn.run(
        app, host=args.host, port=args.port, log_level="warning", ws_max_size=2 * LARGEST,
        ws_per_message_deflate=False,  # JPEG does not get smaller
    )  # fmt: skip
    return 0


def checked_token(host: str, token: str | None) -> str | None:
    """Return the token that clients must send; None where none is needed, on loopback.

    host: the address that is served; token: the user's; "auto" makes a random one. ValueError beyond loopback without a
    token."""
    if token == "auto":
        return secrets.token_urlsafe(16)
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not token:
        raise ValueError(f"--host {host} can be reached from other machines: give --token (auto makes one)")
    if token is not None and len(token) < 8:
        raise ValueError("--token needs at least 8 characters")
    return token


def make_app(models: Models, identity: Identity, view: View, token: str | None = None, clients: int = 2):
    """Return the ASGI application: the page at /, health at /health, the live stream at /live.

    models: the networks.
    identity: the person.
    view: the camera.
    token: what clients must send, None for nothing, see `checked_token`.
    clients: largest number of connections at the same time."""
    from fastapi import FastAPI, WebSocket
    from fastapi.responses import HTMLResponse

    crew, encoder = Crew(), ThreadPoolExecutor(1, "live encoder")  # of all clients, hop by hop in turn

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        crew.close()
        encoder.shutdown()

    app = FastAPI(title="Stereo-Talker live", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    seats = {"taken": 0}

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    @app.get("/health")
    def health() -> dict:
        return {"clients": seats["taken"], "of": clients}

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        given = socket.query_params.get("token", "")
        if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
            await socket.close(4401, "the token is missing or wrong")
            return
        if not _same_origin(socket):
            await socket.close(4403, "another site may not use this page's connection")
            return
        await socket.accept()
        if seats["taken"] >= clients:
            await socket.close(4429, f"all {clients} places are taken; try again later")
            return
        seats["taken"] += 1
        try:
            await Client(socket, Live(models, identity, view), crew, encoder).serve()
        finally:
            seats["taken"] -= 1

    return app


def _jpeg(picture) -> bytes:
    """Encode a picture (3, H, W) in [-1, 1] as a JPEG file."""
    from PIL import Image

    pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return file.getvalue()


def _same_origin(socket) -> bool:
    """Tell whether a connection comes from this server's own page, or from a program that is no browser (it sends no
    origin)."""
    origin = socket.headers.get("origin")
    return origin is None or origin.partition("://")[2] == socket.headers.get("host")


def pictures_of(live: Live) -> int:
    """Return how many pictures of the next hop the server draws: `Live.pace` while somebody speaks, else half of them,
    so that the processor is free when speech begins."""
    return live.pace() if live.speaking else (HOP + 1) // 2


class DrawingError(Exception):
    """The failure to draw a picture, which is no fault of the client."""


class Client:
    """The handler of one connection: messages in, frames out, at the pace of the incoming sound, or in real time while
    nobody speaks.

    socket: the connection; live: the person's performance; crew: draws the frames; encoder: threads that make JPEGs.

    Three tasks run: one takes messages, one begins hops (groups of frames that are drawn together), one sends drawn
    pictures. When one ends, the others are ended."""

    def __init__(self, socket, live: Live, crew: Crew, encoder: ThreadPoolExecutor):
        self.socket, self.live, self.crew, self.encoder = socket, live, crew, encoder
        self.stamps: deque[tuple[float, int]] = deque(maxlen=4000)  # (seconds of sound before, stamp) of recent blocks
        self.pushed, self.messages, self.since = 0.0, 0, time.monotonic()
        self.parts: asyncio.Queue[Part] = asyncio.Queue(AHEAD * -(-HOP // TOGETHER))  # begun and not sent yet

    async def serve(self) -> None:
        """Serve until the client disconnects or sends something invalid."""
        from starlette.websockets import WebSocketDisconnect

        tasks = [asyncio.ensure_future(task) for task in (self._receive(), self._draw(), self._send())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except (ValueError, RecursionError, struct.error) as error:
            await self._refuse(4400, str(error))
        except DrawingError as error:
            sys.stderr.write(f"a picture could not be drawn: {error}\n")
            await self._refuse(1011, "the server could not draw; its log says why")
        except (WebSocketDisconnect, RuntimeError):  # gone while something was sent
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                _ = task.cancelled() or task.exception()  # the first that ended was told above
            while not self.parts.empty():
                self.parts.get_nowait().pictures.cancel()

    async def _receive(self) -> None:
        """Take messages until the client goes away."""
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._count()
            self._take(message.get("bytes"), message.get("text"))

    def _count(self) -> None:
        """Raise ValueError for a client that sends messages too often, or sound faster than it can be spoken."""
        self.messages += 1
        elapsed = time.monotonic() - self.since
        if self.messages > MESSAGES * (elapsed + 1) or self.pushed > FASTEST * elapsed + 10:
            raise ValueError("too much at once: send sound as it is said")

    def _take(self, data: bytes | None, text: str | None) -> None:
        if data is not None:
            if not 4 < len(data) <= LARGEST or len(data) % 2:
                raise ValueError(f"a block of sound has a stamp of 4 bytes and up to {SAMPLE_RATE} samples of 16 bits")
            samples = torch.frombuffer(bytearray(data[4:]), dtype=torch.int16).float() / 32768
            self.live.push(samples)
            self.stamps.append((self.pushed, struct.unpack(">I", data[:4])[0]))
            self.pushed += len(samples) / SAMPLE_RATE
            return
        if text is None or len(text) > 1000:
            raise ValueError("a message is sound, or a short JSON object")
        try:
            told = json.loads(text)
        except ValueError as error:
            raise ValueError("a text message must be JSON") from error
        if not isinstance(told, dict) or not told or set(told) - {"yaw", "pitch", "interrupt"}:
            raise ValueError("a message may hold yaw, pitch and interrupt")
        angles = [told.get("yaw", self.live.yaw), told.get("pitch", self.live.pitch)]
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in angles):
            raise ValueError("yaw and pitch are numbers in degrees")
        self.live.look(*angles)
        if told.get("interrupt"):
            self.live.interrupt()

    async def _draw(self) -> None:
        """Begin one hop after another at the times that `Beat` gives; wait while the crew or the connection is busy."""
        beat = Beat(time.monotonic())
        while True:
            if not self.live.ready or not beat.due(self.live, time.monotonic()):
                await asyncio.sleep(0.005)
                continue
            beat.begun(time.monotonic())
            for part in self.live.begin(self.crew, pictures=pictures_of(self.live)):
                await self.parts.put(part)

    async def _send(self) -> None:
        """Send every picture as soon as it is drawn. DrawingError where it could not be drawn."""
        loop = asyncio.get_running_loop()
        while True:
            part = await self.parts.get()
            try:
                await asyncio.wait([asyncio.wrap_future(part.pictures)])
                fault = part.pictures.exception()
            finally:
                part.pictures.cancel()  # where this task was cancelled, nobody waits for it any more
            if fault is not None:
                raise DrawingError(f"{type(fault).__name__}: {fault}") from fault
            for message in await loop.run_in_executor(self.encoder, self._encoded, part):
                await self.socket.send_bytes(message)

    def _encoded(self, part: Part) -> list[bytes]:
        """Wait until a part of a hop is drawn -> its frames as messages, see `_packed`."""
        last, encoded, messages = None, b"", []
        for frame in part.frames():
            if frame.picture is not last:
                last, encoded = frame.picture, _jpeg(frame.picture)
            messages.append(self._packed(frame, encoded))
        return messages

    def _packed(self, frame: LiveFrame, picture: bytes) -> bytes:
        """Pack a frame as a message: stamp of the sound it answers, byte count of the sound, the sound (if any), the
        JPEG."""
        sound = (frame.sound * 32767).short().numpy().tobytes() if frame.speaking else b""
        spoken = max(0.0, frame.begin)
        stamp = next((stamp for at, stamp in reversed(tuple(self.stamps)) if at <= spoken), 0)
        return struct.pack(">II", stamp, len(sound)) + sound + picture

    async def _refuse(self, code: int, text: str) -> None:
        try:
            await self.socket.send_text(json.dumps({"error": text}))
            await self.socket.close(code, text[:120])
        except RuntimeError as error:  # gone already
            sys.stderr.write(f"client left: {error}\n")
