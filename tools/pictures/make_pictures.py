"""Draw the icon and the banner, and turn a rendered demo into the README's animated picture.

python -m stereotalker_core demo --out out/demo.mp4
python tools/pictures/make_pictures.py --video out/demo.mp4      # writes docs/images/{icon,banner}.png and demo.webp
"""

import argparse
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "images"
INK, SKIN, CLOTH, ACCENT, WARM, GROUND = "#f4f1ea", "#e9b795", "#3d7ea6", "#4aa3ff", "#ff9f43", "#1d2026"
OVERSIZE = 4  # drawn bigger and averaged down
LARGEST = 2_000_000  # bytes of the animated picture


def draw_motif(draw: ImageDraw.ImageDraw, x: float, y: float, s: float) -> None:
    """Draw the logo, a talking half body and a camera's path around it, in a square of side s at (x, y)."""
    w = s * 0.022
    ring = (x + 0.08 * s, y + 0.56 * s, x + 0.92 * s, y + 0.86 * s)  # the circle seen at a slant
    draw.arc(ring, 180, 360, fill="#59606e", width=round(w))
    draw.pieslice((x + 0.24 * s, y + 0.47 * s, x + 0.76 * s, y + 1.09 * s), 180, 360, fill=CLOTH)
    draw.rectangle((x + 0.45 * s, y + 0.4 * s, x + 0.55 * s, y + 0.53 * s), fill=SKIN)
    draw.ellipse((x + 0.37 * s, y + 0.13 * s, x + 0.63 * s, y + 0.45 * s), fill=SKIN)
    draw.chord((x + 0.36 * s, y + 0.11 * s, x + 0.64 * s, y + 0.37 * s), 180, 360, fill="#3a2b25")
    draw.ellipse((x + 0.46 * s, y + 0.345 * s, x + 0.54 * s, y + 0.395 * s), fill="#8c3b3b")
    for i, radius in enumerate((0.10, 0.16, 0.22)):  # the sound
        centre = (x + 0.6 * s, y + 0.37 * s)
        box = (centre[0] - radius * s, centre[1] - radius * s, centre[0] + radius * s, centre[1] + radius * s)
        draw.arc(box, -28, 28, fill=(WARM, "#d98a3d", "#9c6a3a")[i], width=round(w))
    draw.arc(ring, 0, 180, fill="#59606e", width=round(w))
    draw.arc(ring, 40, 140, fill=ACCENT, width=round(1.8 * w))
    for angle, colour, size in ((140, ACCENT, 0.045), (40, WARM, 0.045)):
        cx = (ring[0] + ring[2]) / 2 + (ring[2] - ring[0]) / 2 * math.cos(math.radians(angle))
        cy = (ring[1] + ring[3]) / 2 + (ring[3] - ring[1]) / 2 * math.sin(math.radians(angle))
        box = (cx - size * s, cy - size * s, cx + size * s, cy + size * s)
        draw.ellipse(box, fill=colour, outline=INK, width=round(w / 2))


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, so that the picture is the same on every machine."""
    return ImageFont.load_default(size)


def make_icon(side: int = 400) -> Image.Image:
    big = side * OVERSIZE
    icon = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    draw = ImageDraw.Draw(icon)
    draw.rounded_rectangle((0, 0, big - 1, big - 1), radius=big // 6, fill=GROUND)
    draw_motif(draw, 0, -0.01 * big, big)
    return icon.resize((side, side), Image.LANCZOS)


def make_banner(frames: list[Image.Image], width: int = 1260, height: int = 540) -> Image.Image:
    """Return the banner, 21 : 9, with the logo, the name and frames of the demo."""
    big = Image.new("RGB", (width * 2, height * 2), GROUND)
    draw = ImageDraw.Draw(big)
    draw_motif(draw, 60, 120, 560)
    draw.text((700, 190), "Stereo-Talker", font=font(190), fill=INK)
    line = "portrait + speech -> talking half body, any camera yaw"
    draw.text((706, 440), line, font=font(64), fill="#b9bfca")
    banner = big.resize((width, height), Image.LANCZOS)
    side = 220
    for i, frame in enumerate(frames):
        banner.paste(frame.resize((side, side), Image.LANCZOS), (350 + i * (side + 4), height - side - 24))
    return banner


def read_video(path: Path) -> tuple[list[Image.Image], float]:
    import av

    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate)
        return [frame.to_image() for frame in container.decode(video=0)], rate


def make_animation(portrait: Image.Image, frames: list[Image.Image], rate: float, path: Path, seconds: float) -> None:
    """Write portrait and video side by side, every second frame, as an endless WebP of at most 2 MB.

    rate: frames per second of the video; seconds: how much of it."""
    side = frames[0].height
    shown = frames[: round(seconds * rate) : 2]
    left = portrait.convert("RGB").resize((side, side), Image.LANCZOS)
    canvases = []
    for frame in shown:
        canvas = Image.new("RGB", (2 * side + 4, side), "white")
        canvas.paste(left, (0, 0))
        canvas.paste(frame, (side + 4, 0))
        canvases.append(canvas)
    for quality in (80, 65, 50, 35):
        canvases[0].save(
            path,
            save_all=True,
            append_images=canvases[1:],
            duration=round(2000 / rate),
            loop=0,
            quality=quality,
            method=6,
        )
        if path.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{path} is larger than {LARGEST} bytes even at quality 35; use --seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True, help="what `demo` wrote; its portrait lies beside it")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the animated picture")
    parser.add_argument("--back", action="store_true", help="play it there and back, for a loop without a jump")
    args = parser.parse_args()
    frames, rate = read_video(args.video)
    portrait = Image.open(args.video.with_name(f"{args.video.stem}_portrait.png"))
    OUT.mkdir(parents=True, exist_ok=True)
    make_icon().save(OUT / "icon.png", optimize=True)
    make_banner([frames[i * (len(frames) - 1) // 3] for i in range(4)]).save(OUT / "banner.png", optimize=True)
    frames += frames[-2::-1] if args.back else []
    make_animation(portrait, frames, rate, OUT / "demo.webp", args.seconds)


if __name__ == "__main__":
    main()
