"""The live person under load: `python benchmarks/live.py [--size N] [--seconds S] [--soak S] [--json F]` (Linux).

Starts `serve` in a process of its own on a synthetic person and is its client: how long the first frame and an
interruption take, whether 25 frames a second are kept, what it costs in processor time and memory, what malformed
messages, silence, broken connections and 20 clients at once do. Needs `pip install '.[serve]'`; threads of the
server: OMP_NUM_THREADS.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import websockets

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stereotalker_core.audio.load import load_audio  # noqa: E402

SPEECH = ROOT / "stereotalker_core" / "synthetic" / "assets" / "demo_speech.flac"
BLOCK, RATE, PLACES, CROWD = 320, 16000, 2, 20
STALL = 0.4  # seconds without a frame that a viewer takes for a fault; hops come every 0.16
MALFORMED = (b"", b"1234", b"12345", b"\0" * 64000, "no json", "{}", '{"yaw": "left"}', '{"yaw": NaN}', "x" * 5000)


class Server:
    """The server in a process of its own: its address and its use of processor time and memory.

    identity: file of the person; size: px of a side of the pictures."""

    def __init__(self, identity: Path, size: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        line = [sys.executable, "-m", "stereotalker_core", "serve", "--identity", str(identity), "--size", str(size)]
        self.process = subprocess.Popen([*line, "--port", str(self.port), "--clients", str(PLACES)], cwd=ROOT)
        while self.process.poll() is None:
            try:
                self.health()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("the server did not start")

    def health(self) -> dict:
        """Return the answer of /health: {"clients": connected now, "of": places for clients}."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=20) as answer:
            return json.load(answer)

    def connect(self):
        """Return a new connection to the server, to be used in `async with`."""
        return websockets.connect(f"ws://127.0.0.1:{self.port}/live", max_size=None, ping_timeout=None)

    async def place(self) -> None:
        """Wait until the previous client has left and a place is free; TimeoutError after ten seconds."""
        end = time.monotonic() + 10
        while (await asyncio.to_thread(self.health))["clients"] >= PLACES:
            if time.monotonic() > end:
                raise TimeoutError("no place became free")
            await asyncio.sleep(0.05)

    def processor(self) -> float:
        """Return the processor time used so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> dict[str, tuple[float, float]]:
        """Return {thread number: (seconds that it ran, seconds that it waited for a processor)} of the server's
        threads."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            ran, waited, _ = (task / "schedstat").read_text(encoding="utf-8").split()
            found[task.name] = (int(ran) / 1e9, int(waited) / 1e9)
        return found

    def memory(self) -> float:
        """Return the resident memory in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return float("nan")


class Listener:
    """The receiver of a connection's frames; `frames` lists (arrival time s, time stamp ms, whether it had sound) of
    each."""

    def __init__(self, connection):
        self.connection, self.frames, self.task = connection, [], asyncio.ensure_future(self._listen())
        self.pictures, self._last = [], b""  # when one came that differs from the one before

    async def _listen(self) -> None:
        try:
            async for data in self.connection:
                if isinstance(data, bytes):
                    stamp, length = struct.unpack(">II", data[:8])
                    if data[8 + length :] != self._last:
                        self.pictures.append(time.monotonic())
                    self._last = data[8 + length :]
                    self.frames.append((time.monotonic(), stamp, length > 0))
        except websockets.ConnectionClosed:
            return

    async def until(self, found, seconds: float = 30.0) -> float:
        """Wait for a frame for which found(time, stamp, sounds) is true -> its arrival time; inf where none comes."""
        end, seen = time.monotonic() + seconds, len(self.frames)
        while time.monotonic() < end:
            for frame in self.frames[seen:]:
                seen += 1
                if found(*frame):
                    return frame[0]
            await asyncio.sleep(0.002)
        return float("inf")


def stamped(samples) -> bytes:
    """Return the message for a block of samples: the clock's milliseconds, then 16-bit samples."""
    return struct.pack(">I", int(time.monotonic() * 1000) % 2**32) + (samples * 32767).short().numpy().tobytes()


async def speak(connection, sound, seconds: float, begin: float = 0.0) -> None:
    """Send blocks of 20 ms in real time, for `seconds`, starting `begin` seconds into the sound."""
    start = time.monotonic()
    for i in range(int(seconds * RATE / BLOCK)):
        at = (int(begin * RATE) + i * BLOCK) % (len(sound) - BLOCK)
        await connection.send(stamped(sound[at : at + BLOCK]))
        await asyncio.sleep(max(0.0, start + (i + 1) * BLOCK / RATE - time.monotonic()))


async def reactions(server: Server, sound, tries: int = 12) -> dict:
    """Measure the reaction times over some tries -> {"first_frame_s", "interruption_s": `summary` of the seconds}.

    first_frame_s: from the first block of a sentence to its first frame.
    interruption_s: from an interruption to the last frame with sound.
    server: running; sound: (S,) samples of speech."""
    first, stopped = [], []
    async with server.connect() as connection:
        listener = Listener(connection)
        await listener.until(lambda *_: True)
        for i in range(tries):
            await asyncio.sleep(1.0 + 0.037 * i)  # idle; not in step with the hops
            start = time.monotonic()
            speaking = asyncio.ensure_future(speak(connection, sound, 1.6, 0.3))
            first.append(await listener.until(lambda at, stamp, sounds, start=start: at > start and sounds) - start)
            await speaking
            await connection.send(json.dumps({"interrupt": True}))
            start = time.monotonic()
            await asyncio.sleep(0.9)
            stopped.append(max((at - start for at, _, sounds in listener.frames if sounds and at > start), default=0.0))
        listener.task.cancel()
    return {"first_frame_s": summary(first), "interruption_s": summary(stopped)}


def summary(values: list[float]) -> dict:
    """Return {"median", "p90" (exceeded by a tenth), "worst": rounded values, "tries": their number}."""
    tenth = sorted(values)[-1 - len(values) // 10]
    found = {"median": statistics.median(values), "p90": tenth, "worst": max(values)}
    return {name: round(value, 3) for name, value in found.items()} | {"tries": len(values)}


async def sustained(server: Server, sound, seconds: float) -> dict:
    """Send speech in real time for some seconds and measure whether frames keep up -> a dictionary of figures.

    Its keys say quantity and unit: "frames_per_s", "pictures_per_s" (different ones), "processor_s_per_s", and so on.
    "lag_s" and "memory_mb" are lists over time; "growth_*" as from `growth`; "fault": text of an error, else None.
    "pictures_by_the_second" as from `by_the_second`; "threads_*": seconds run and waited per second, of each thread.
    "repeated_pictures", "missing_frames" (of 25 per second) and "stalls" (pauses longer than STALL) count lost frames.
    """
    rows, stalls = [], 0
    async with server.connect() as connection:
        listener = Listener(connection)
        await listener.until(lambda *_: True)
        begin, used, count = time.monotonic(), server.processor(), len(listener.frames)
        first, threads = len(listener.pictures), server.threads()
        speaking = asyncio.ensure_future(speak(connection, sound, seconds))
        while not speaking.done():
            await asyncio.sleep(min(10.0, seconds / 4))
            lags = [at * 1000 % 2**32 - stamp for at, stamp, sounds in listener.frames[-50:] if sounds and stamp]
            rows.append((server.memory(), statistics.median(lags) / 1000 if lags else 0.0))
        times = [at for at, _, _ in listener.frames[count:]]
        stalls = sum(b - a > STALL for a, b in zip(times, times[1:], strict=False))
        passed, listener.frames = time.monotonic() - begin, listener.frames[count:]
        frames, used, new = len(listener.frames), server.processor() - used, listener.pictures[first:]
        spent = changes(threads, server.threads(), passed)
        listener.task.cancel()
        fault = speaking.exception()
    return {
        "wall_s": round(passed, 1), "frames_per_s": round(frames / passed, 2),
        "pictures_per_s": round(len(new) / passed, 2), "pictures_by_the_second": by_the_second(new, begin, passed),
        "processor_s_per_s": round(used / passed, 3),
        "threads_s_per_s": [ran for ran, _ in spent], "threads_waited_s_per_s": [waited for _, waited in spent],
        "repeated_pictures": frames - len(new), "missing_frames": max(0, round(25 * passed) - frames), "stalls": stalls,
        "processor_s_per_s_of_video": round(used / (frames / 25), 3), "lag_s": [round(r[1], 2) for r in rows],
        "memory_mb": [round(r[0], 1) for r in rows], **growth([r[0] for r in rows]),
        "fault": fault and str(fault), "load": os.getloadavg()[0],
    }  # fmt: skip


def changes(before: dict, after: dict, seconds: float) -> list[tuple[float, float]]:
    """Return how the threads were busy between two calls of `Server.threads`: [(seconds run, seconds waited) per
    second].

    before, after: what these returned; seconds: between them. Threads that ran less than a hundredth are left out."""
    begun = {name: before.get(name, (0.0, 0.0)) for name in after}
    grown = [tuple(round((b - a) / seconds, 3) for a, b in zip(begun[n], after[n], strict=True)) for n in after]
    return sorted((pair for pair in grown if pair[0] > 0.01), reverse=True)


def by_the_second(times: list[float], begin: float, passed: float) -> dict[str, float]:
    """Count how many pictures arrive in each second -> {"median", "p10", "worst", "worst_mean_of_five_s": number}.

    times: s at which they arrive; begin: s at which counting starts; passed: seconds counted, of which the first is
        left out. Pictures come a few at a time, so that 23 or 28 in a second are a pace of 25: the mean over five
        seconds says more."""
    counts = [0] * int(passed)
    for at in times:
        if at - begin < len(counts):
            counts[int(at - begin)] += 1
    counts = counts[1:] or counts
    fives = [sum(counts[i : i + 5]) / 5 for i in range(max(1, len(counts) - 4))]
    low = sorted(counts)
    return {"median": statistics.median(counts), "p10": low[len(low) // 10], "worst": low[0],
            "worst_mean_of_five_s": round(min(fives), 1)}  # fmt: skip


async def soak(server: Server, sound, seconds: float) -> dict:
    """Send speech and silence in turn, as fast as frames come back, and watch the memory -> a dictionary of figures.

    {"minutes", "frames", "video_s", "alive": whether the connection held, "memory_mb": [one per half minute],
    "growth_*": as from `growth`, "processor_s_per_s_of_video"}; sound: (S,) samples; seconds: how long."""
    rows, sent, end, begin = [], 0, time.monotonic() + seconds, server.processor()
    async with server.connect() as connection:
        listener, noted = Listener(connection), 0.0
        while time.monotonic() < end and not listener.task.done():
            if sent / 50 < len(listener.frames) / 25 + 0.4:
                at = sent * BLOCK % (len(sound) - BLOCK)
                quiet = sent // 500 % 4 == 3
                await connection.send(stamped(sound[at : at + BLOCK] * (not quiet)))
                sent += 1
            await asyncio.sleep(0.018)
            if time.monotonic() > noted + 30:
                noted = time.monotonic()
                rows.append(round(server.memory(), 1))
        frames, alive = len(listener.frames), not listener.task.done()
        listener.task.cancel()
    used = server.processor() - begin
    return {"minutes": round(seconds / 60, 1), "frames": frames, "video_s": frames / 25, "alive": alive,
            "memory_mb": rows, **growth(rows),
            "processor_s_per_s_of_video": round(used / (frames / 25), 3)}  # fmt: skip


def growth(rows: list[float]) -> dict[str, float]:
    """Return the growth of a figure over the last two thirds of a time, {} where fewer than two values fall into these.

    rows: values in MB at equal intervals. {"growth_of_the_last_two_thirds_mb": last minus first, "growth_by_a_line_mb":
        the same of a straight line fitted to them}."""
    tail = rows[len(rows) // 3 :]
    if len(tail) < 2:
        return {}
    slope = statistics.linear_regression(range(len(tail)), tail).slope
    ends = {"growth_of_the_last_two_thirds_mb": round(tail[-1] - tail[0], 1)}
    return ends | {"growth_by_a_line_mb": round(slope * (len(tail) - 1), 1)}


async def rudeness(server: Server, sound) -> dict:
    """Send malformed messages, break connections off, connect too many clients -> what the server answered.

    {"malformed": [reason of each refusal], "crowd": [different refusals of clients beyond the places], "others_served":
    whether the first client still got frames, "health": as from `Server.health`}."""
    refusals = []
    async with server.connect() as good:
        listener = Listener(good)
        for bad in MALFORMED:
            await server.place()
            async with server.connect() as connection:
                await connection.send(bad)
                refusals.append(await closed(connection))
        for _ in range(3):  # breaks off in the middle of a sentence, without a word
            await server.place()
            connection = await server.connect()
            await speak(connection, sound, 0.3)
            connection.transport.abort()
        await server.place()
        async with server.connect():
            turned_away = await asyncio.gather(*(crowded(server) for _ in range(CROWD)))
        count = len(listener.frames)
        await good.send(stamped(sound[:BLOCK] * 0))
        await asyncio.sleep(2.0)
        served = len(listener.frames) > count and not listener.task.done()
        listener.task.cancel()
    await asyncio.sleep(0.5)
    return {"malformed": refusals, "crowd": sorted(set(turned_away)), "others_served": served,
            "health": server.health()}  # fmt: skip


async def crowded(server: Server) -> str:
    """Return the refusal that a client gets when all places are taken."""
    async with server.connect() as connection:
        return await closed(connection)


async def closed(connection) -> str:
    """Return the code and reason with which the server closes a connection."""
    try:
        while True:
            await asyncio.wait_for(connection.recv(), 30)
    except websockets.ConnectionClosed as end:
        return f"{end.rcvd.code} {end.rcvd.reason}" if end.rcvd else "no reason"


def main() -> int:
    """Measure, print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--seconds", type=float, default=300.0, help="of speech in real time; 0: left out")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of speech as fast as frames come; 0: left out")
    parser.add_argument("--only-soak", action="store_true", help="nothing else")
    parser.add_argument("--identity", help="a saved person; without it a synthetic one is fitted")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    sound = load_audio(SPEECH).waveform
    with tempfile.TemporaryDirectory() as folder:
        identity = Path(args.identity) if args.identity else fitted(Path(folder))
        server = Server(identity, args.size)
        try:
            figures = {"size": args.size, "load": os.getloadavg()[0]}
            for name, part in plan(server, sound, args):
                figures[name] = asyncio.run(part)
                print(name, json.dumps(figures[name], indent=2), flush=True)
            print("health", server.health())
        finally:
            server.process.terminate()
            server.process.wait()
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def plan(server: Server, sound, args: argparse.Namespace):
    """Yield (name, coroutine that measures it) for each measurement that the options request.

    server: running; sound: (S,) samples of speech; args: the options of this file."""
    if not args.only_soak:
        yield "reactions", reactions(server, sound)
        yield "rudeness", rudeness(server, sound)
        if args.seconds:
            yield "sustained", sustained(server, sound, args.seconds)
    if args.soak:
        yield "soak", soak(server, sound, args.soak)


def fitted(folder: Path) -> Path:
    """Fit a synthetic person from a picture, save the identity in `folder` -> the path of its file."""
    line = [sys.executable, "-m", "stereotalker_core"]
    subprocess.run([*line, "synth", "portrait", "--seed", "11", "--out", str(folder / "p.png")], cwd=ROOT, check=True)
    more = ["--audio", str(SPEECH), "--out", str(folder / "p.mp4"), "--frames", "0:1", "--quiet"]
    more += ["--save-identity", str(folder / "p.safetensors")]
    subprocess.run([*line, "talk", "--portrait", str(folder / "p.png"), *more], cwd=ROOT, check=True)
    return folder / "p.safetensors"


if __name__ == "__main__":
    sys.exit(main())
