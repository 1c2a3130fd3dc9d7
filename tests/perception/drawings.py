"""Pictures without a person: patterns and drawings of things and animals, as (3, H, W) in [-1, 1]."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def cup() -> Tensor:
    picture = Image.new("RGB", (600, 600), (200, 210, 220))
    pen = ImageDraw.Draw(picture)
    pen.rectangle([0, 420, 600, 600], fill=(120, 80, 50))
    pen.ellipse([380, 220, 520, 380], outline=(240, 240, 240), width=28)
    pen.polygon([(150, 180), (430, 180), (400, 450), (180, 450)], fill=(245, 245, 245))
    pen.ellipse([150, 150, 430, 210], fill=(90, 50, 30), outline=(250, 250, 250), width=8)
    return _tensor(picture)


def landscape() -> Tensor:
    picture = Image.new("RGB", (700, 500), (150, 200, 240))
    pen = ImageDraw.Draw(picture)
    pen.polygon([(0, 350), (180, 150), (330, 330), (460, 200), (700, 380), (700, 500), (0, 500)], fill=(90, 110, 90))
    pen.rectangle([0, 380, 700, 500], fill=(80, 150, 70))
    pen.ellipse([560, 50, 640, 130], fill=(255, 240, 150))
    return _tensor(picture)


def room() -> Tensor:
    picture = Image.new("RGB", (700, 500), (220, 215, 205))
    pen = ImageDraw.Draw(picture)
    pen.polygon([(0, 500), (700, 500), (520, 350), (180, 350)], fill=(150, 110, 80))
    pen.polygon([(0, 0), (180, 80), (180, 350), (0, 500)], fill=(200, 195, 185))
    pen.rectangle([280, 140, 420, 260], fill=(170, 210, 240), outline=(255, 255, 255), width=8)
    pen.rectangle([200, 300, 300, 380], fill=(100, 60, 40))
    return _tensor(picture)


def animal(fur: tuple[int, int, int], ears: str) -> Tensor:
    picture = Image.new("RGB", (600, 600), (170, 210, 190))
    pen = ImageDraw.Draw(picture)
    if ears == "pointed":
        pen.polygon([(150, 250), (170, 90), (280, 180)], fill=fur)
        pen.polygon([(450, 250), (430, 90), (320, 180)], fill=fur)
    else:
        pen.ellipse([120, 110, 240, 230], fill=fur)
        pen.ellipse([360, 110, 480, 230], fill=fur)
    pen.ellipse([130, 150, 470, 470], fill=fur)
    for x in (225, 375):
        pen.ellipse([x - 32, 238, x + 32, 302], fill=(255, 255, 255))
        pen.ellipse([x - 14, 254, x + 14, 286], fill=(20, 20, 20))
    pen.polygon([(280, 340), (320, 340), (300, 365)], fill=(90, 40, 40))
    pen.arc([250, 350, 300, 410], 0, 180, fill=(60, 30, 30), width=6)
    pen.arc([300, 350, 350, 410], 0, 180, fill=(60, 30, 30), width=6)
    return _tensor(picture)


def clock() -> Tensor:
    picture = Image.new("RGB", (500, 500), (230, 230, 230))
    pen = ImageDraw.Draw(picture)
    pen.ellipse([60, 60, 440, 440], fill=(255, 255, 255), outline=(20, 20, 20), width=12)
    pen.line([250, 250, 250, 110], fill=(0, 0, 0), width=8)
    pen.line([250, 250, 350, 290], fill=(0, 0, 0), width=10)
    return _tensor(picture)


def car() -> Tensor:
    picture = Image.new("RGB", (700, 500), (180, 190, 200))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle([120, 160, 580, 400], 60, fill=(180, 30, 30))
    pen.polygon([(190, 180), (510, 180), (470, 90), (230, 90)], fill=(60, 80, 100))
    for x in (200, 500):
        pen.ellipse([x - 40, 230, x + 40, 310], fill=(255, 255, 220))
    pen.rounded_rectangle([260, 300, 440, 360], 10, fill=(40, 40, 40))
    return _tensor(picture)


def gradient() -> Tensor:
    return torch.stack(torch.meshgrid(torch.linspace(-1, 1, 400), torch.linspace(1, -1, 400), indexing="ij") * 2)[:3]


def noise() -> Tensor:
    return torch.rand(3, 400, 400, generator=torch.Generator().manual_seed(1)) * 2 - 1


def clouds() -> Tensor:
    small = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.interpolate(small, (400, 400), mode="bicubic")[0].clamp(-1, 1)


DRAWINGS = {
    "cup": cup,
    "landscape": landscape,
    "empty room": room,
    "cat": lambda: animal((240, 170, 80), "pointed"),
    "bear": lambda: animal((140, 95, 60), "round"),
    "clock": clock,
    "car": car,
    "flat": lambda: torch.full((3, 300, 400), 0.3),
    "gradient": gradient,
    "noise": noise,
    "clouds": clouds,
}
