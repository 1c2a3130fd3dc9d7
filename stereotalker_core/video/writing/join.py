"""Pieces of one clip -> one file, without encoding the picture again; the sound is that of the whole clip.

Sound is always encoded from the recording's first sample, and a part takes the packets that begin within its frames, so
joined parts contain the same packets as a single run, without a seam."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...records import Audio

_RATES = {
    "aac": (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350),
    "libopus": (48000,),
}
_BLOCK = {"aac": 1024, "libopus": 960, "pcm_s16le": 1024}
_KIND = {"aac": "fltp", "libopus": "flt", "pcm_s16le": "s16"}
_SHORT = 0.25  # seconds of a part in which no packet of sound may begin
_LABEL = re.compile(r"\[frames (\d+):(\d+) of (\d+)\]")


@dataclass(frozen=True)
class Part:
    """The frames first..stop - 1 of a clip of `count` frames; `label` is its text in a file's comment."""

    first: int
    stop: int
    count: int

    @property
    def whole(self) -> bool:
        return (self.first, self.stop) == (0, self.count)

    def label(self) -> str:
        return f"[frames {self.first}:{self.stop} of {self.count}]"


def part_of(path: str | Path) -> Part | None:
    """Read from a file's comment which part of a clip it is; None for a whole clip. ValueError where it is no video."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise ValueError(f"{path} holds no video")
            found = _LABEL.search(file.metadata.get("comment", file.metadata.get("COMMENT", "")))
    except FFmpegError as error:
        raise ValueError(f"{path} is no video that can be read ({error.strerror})") from error
    return Part(*map(int, found.groups())) if found else None


def sound_packets(stream, audio: Audio, part: Part, fps: Fraction) -> Iterator:
    """Yield the encoded sound packets of the frames of `part`, with times relative to its first frame.

    stream: the sound stream of the file, from `add_sound`.
    audio: the whole recording.
    part: the frames.
    fps: frames per second."""
    from av import AudioFrame, AudioResampler

    context, rate = stream.codec_context, audio.original_rate
    channels = 2 if audio.original.shape[0] == 2 else 1
    layout = "stereo" if channels == 2 else "mono"
    resampler = AudioResampler(context.format.name, layout, context.sample_rate, frame_size=_BLOCK[context.name])
    begin, end = (context.sample_rate * frame / fps for frame in (part.first, part.stop))
    last = min(round(part.count * rate / fps), audio.original.shape[1])

    def encoded() -> Iterator:
        for start in range(0, last, rate):
            piece = audio.original[:, start : min(start + rate, last)]
            if piece.shape[0] > 2:
                piece = piece.mean(0, keepdim=True)
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece.clamp(-1, 1).numpy()), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for block in resampler.resample(frame):
                yield from stream.encode(block)
        for block in resampler.resample(None):
            yield from stream.encode(block)
        yield from stream.encode(None)

    for packet in encoded():
        time = packet.pts * packet.time_base * context.sample_rate
        if time >= end and part.stop < part.count:
            return
        if time >= begin or part.first == 0:
            packet.pts -= round(begin / context.sample_rate / packet.time_base)
            packet.dts = packet.pts
            yield packet


def add_sound(container, codec: str, audio: Audio):
    """Add a sound stream for the recording to a container, at its own rate if the codec supports it, else at 48 kHz."""
    from av.codec.context import Flags

    rates = _RATES.get(codec, (audio.original_rate,))
    layout = "stereo" if audio.original.shape[0] == 2 else "mono"
    rate = audio.original_rate if audio.original_rate in rates else 48000
    stream = container.add_stream(codec, rate=rate, layout=layout)
    stream.codec_context.format = _KIND[codec]
    stream.codec_context.flags |= Flags.bitexact
    if codec != "pcm_s16le":
        stream.codec_context.bit_rate = 96_000 * (2 if layout == "stereo" else 1)
    return stream


def copied(container, template):
    """Add a stream to `container` for packets copied from `template`."""
    add = getattr(container, "add_stream_from_template", None)
    stream = add(template) if add else container.add_stream(template=template)
    stream.metadata.update(template.metadata)
    return stream


def mux(
    pieces: Sequence[Path],
    out: Path,
    part: Part,
    fps: Fraction,
    tags: dict[str, str],
    audio: Audio | None = None,
    sound: str = "aac",
) -> None:
    """Join silent pieces, in order, with the recording into the file `out`, atomically.

    pieces: the files to join.
    out: the file to write.
    part: the frames they hold.
    fps: frames per second.
    tags: {name: text}, metadata of the file.
    audio: the whole recording, None for no sound.
    sound: its codec."""
    import av

    comment = tags.get("comment", "")
    tags = tags if part.whole else tags | {"comment": f"{comment} {part.label()}".strip()}
    with written(out) as name, av.open(name, "w", options=_options(out)) as container:
        container.metadata.update(tags)
        with av.open(str(pieces[0])) as first:
            video = copied(container, first.streams.video[0])
        packets: Iterator = iter(())
        if audio is not None:
            stream = add_sound(container, sound, audio)
            packets = sound_packets(stream, audio, part, fps)
        waiting = next(packets, None)
        for packet, ends in _pictures(pieces, fps):
            packet.stream = video
            container.mux(packet)
            while waiting is not None and waiting.pts * waiting.time_base < ends:
                container.mux(waiting)
                waiting = next(packets, None)
        while waiting is not None:
            container.mux(waiting)
            waiting = next(packets, None)


def join_parts(paths: Sequence[str | Path], out: str | Path) -> Part:
    """Join parts of one clip, in any order, into `out` -> the clip, or the longer part that they form.

    ValueError: files that are no parts, gaps or overlaps between them, or different settings."""
    import av

    found: list[tuple[Part, Path]] = []
    for path in map(Path, paths):
        part = part_of(path)
        if part is None:
            raise ValueError(f"{path} is no part of a clip: talk --frames and --shard write those")
        found.append((part, path))
    order = sorted(found, key=lambda pair: pair[0].first)
    for (a, left), (b, right) in zip(order, order[1:], strict=False):
        if a.count != b.count:
            raise ValueError(f"{left} is of a clip of {a.count} frames, {right} of one of {b.count}")
        if a.stop != b.first:
            what = f"frames {a.stop}:{b.first} are missing" if a.stop < b.first else "both hold the same frames"
            raise ValueError(f"{left} ends before frame {a.stop}, {right} begins with {b.first}: {what}")
    whole = Part(order[0][0].first, order[-1][0].stop, order[0][0].count)
    with written(Path(out)) as name, av.open(name, "w", options=_options(Path(out))) as container:
        streams = _streams_like(container, [path for _, path in order], whole)
        spent = [Fraction(0), Fraction(0)]  # seconds: time of the first packet of sound, and how long all of them last
        for part, path in order:
            with av.open(str(path)) as file:
                shift = Fraction(part.first - whole.first) / rate_of(file.streams.video[0])
                order_of_decoding = iter(_decoding_times(path))
                for packet in file.demux():
                    if not packet.size:
                        continue
                    kind = packet.stream.type
                    if kind == "video":
                        _delayed(packet, shift, next(order_of_decoding))
                    else:
                        _sound_behind(packet, spent, part is order[0][0])
                    packet.stream = streams[0 if kind == "video" else 1]
                    container.mux(packet)
    return whole


def _streams_like(container, paths: list[Path], whole: Part) -> list:
    """Add streams to the container that match those of all files, and the first file's tags -> [picture stream, sound
    stream].

    container: the file to write.
    paths: the files; ValueError where their settings differ, or only some have sound.
    whole: the part of the clip that they form together, written into the comment."""
    import av

    chosen: dict[str, tuple] = {}
    silent: list[Path] = []
    tags: dict[str, str] = {}
    for path in paths:
        with av.open(str(path)) as file:
            tags = tags or {k.lower(): v for k, v in file.metadata.items() if k.lower() in ("title", "comment")}
            for stream in [*file.streams.video[:1], *file.streams.audio[:1]]:
                context = stream.codec_context
                size = (getattr(stream, "width", 0), getattr(stream, "height", 0))
                rate = stream.average_rate if stream.type == "video" else context.sample_rate
                kind = (context.name, context.extradata, size, rate)
                if stream.type not in chosen:
                    chosen[stream.type] = (kind, copied(container, stream))
                elif chosen[stream.type][0] != kind:
                    raise ValueError(f"{path} was made with other settings than {paths[0]}; render it again")
            if not file.streams.audio and float(file.duration or 0) / av.time_base > _SHORT:
                silent.append(path)
    if silent and "audio" in chosen:
        raise ValueError(f"{silent[0]} has no sound, others have: it was made with other settings; render it again")
    comment = _LABEL.sub("" if whole.whole else whole.label(), tags.get("comment", "")).strip()
    container.metadata.update(tags | {"comment": comment})
    return [chosen[kind][1] for kind in ("video", "audio") if kind in chosen]


def rate_of(stream) -> Fraction:
    """Return the frame rate of a video stream. ValueError where its container does not give one."""
    if not stream.average_rate:
        raise ValueError("the stream of pictures has no frame rate")
    return Fraction(stream.average_rate)


def _decoding_times(path: Path) -> list[Fraction]:
    """Return the decoding times (s) of the picture's packets, computed because some containers have none, so that all
    pieces agree."""
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        early = (2 if stream.codec_context.name == "h264" else 0) / rate_of(stream)
        times = (p.pts * p.time_base for p in file.demux(stream) if p.size and p.pts is not None)
        return [time - early for time in sorted(times)]


def _delayed(packet, shift: Fraction, decoded: Fraction) -> None:
    """Shift a video packet by `shift` seconds; decoded: its decoding time in its own file, s."""
    packet.pts += round(shift / packet.time_base)
    packet.dts = round((decoded + shift) / packet.time_base)


def _sound_behind(packet, spent: list[Fraction], first: bool) -> None:
    """Set the time of a copied sound packet to the end of the one before it, so that joined parts have no gap.

    spent: [time of the first packet, length of all packets since], s, updated; counted in samples, so that rounding
        does not accumulate. first: whether the packet is of the first part."""
    if first and spent[1] == 0:
        spent[0] = packet.pts * packet.time_base
    context = packet.stream.codec_context
    packet.pts = packet.dts = round((spent[0] + spent[1]) / packet.time_base)
    aac = context.name == "aac"
    spent[1] += Fraction(_BLOCK["aac"], context.sample_rate) if aac else packet.duration * packet.time_base


def _pictures(pieces: Sequence[Path], fps: Fraction) -> Iterator:
    """Yield the video packets of all pieces in order, each with the time (s) at which its frame ends."""
    import av

    shift = Fraction(0)
    for piece in pieces:
        times = _decoding_times(piece)
        with av.open(str(piece)) as file:
            for packet, time in zip((p for p in file.demux(video=0) if p.size), times, strict=True):
                _delayed(packet, shift, time)
                yield packet, time + shift + 1 / fps
        shift += len(times) / fps


def _options(path: Path) -> dict[str, str]:
    options = {"fflags": "+bitexact"}  # no clock, no random ids: the same input gives the same file
    if path.suffix.lower() in (".mp4", ".mov"):
        options["movflags"] = "+faststart"
    return options


class written:
    """The context manager that gives a temporary name beside `path`, renamed to `path` at the end, deleted after an
    error."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> str:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, self.name = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=self.path.suffix
        )
        os.close(handle)
        return self.name

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            os.chmod(self.name, 0o644)
            os.replace(self.name, self.path)
        else:
            Path(self.name).unlink(missing_ok=True)
