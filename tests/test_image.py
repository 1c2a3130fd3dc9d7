"""Picture files in every mode, orientation, depth and size; damaged ones; masks and backgrounds."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from stereotalker_core.image import LONGEST, load_background, load_mask, load_portrait, save_image

H, W = 220, 300


def picture() -> Image.Image:
    """A colour gradient: red grows to the right, green downwards, blue is constant."""
    red, green = np.meshgrid(np.linspace(20, 235, W), np.linspace(20, 235, H))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8))


def expected() -> torch.Tensor:
    return torch.from_numpy(np.array(picture(), dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


@pytest.mark.parametrize("suffix, error", [("png", 1e-6), ("webp", 0.05), ("jpg", 0.03), ("bmp", 1e-6)])
def test_formats(tmp_path, suffix, error):
    path = tmp_path / f"a.{suffix}"
    picture().save(path)
    image, mask, source = load_portrait(path)
    assert image.shape == (3, H, W) and mask is None and source == (H, W)
    assert (image - expected()).abs().mean() < error


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    """Store the picture as a camera would for each orientation; it must come out upright."""
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = picture()
    if orientation in undo:
        stored = stored.transpose(getattr(Image.Transpose, undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    image, _, source = load_portrait(tmp_path / "a.png")
    assert source == (H, W)
    assert torch.equal(image, expected())


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "YCbCr"])
def test_modes_come_out_as_rgb(tmp_path, mode):
    path = tmp_path / ("a.png" if mode in "LP1" else "a.tif" if mode == "CMYK" else "a.jpg")
    picture().convert(mode).save(path)
    image, mask, _ = load_portrait(path)
    assert image.shape == (3, H, W) and mask is None
    wanted = torch.from_numpy(np.array(picture().convert(mode).convert("RGB"), dtype=np.float32)).permute(2, 0, 1)
    assert (image - (wanted / 127.5 - 1)).abs().mean() < 0.03


def test_cmyk_jpg(tmp_path):
    picture().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert (load_portrait(tmp_path / "a.jpg").image - expected()).abs().mean() < 0.05


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    ramp = np.linspace(0, 65535, W).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (H, 1))).save(tmp_path / "a.png")
    image = load_portrait(tmp_path / "a.png").image
    assert torch.allclose(image[0, 0], torch.linspace(-1, 1, W), atol=0.01)
    assert torch.equal(image[0], image[2])


def with_alpha(values: np.ndarray) -> Image.Image:
    image = picture()
    image.putalpha(Image.fromarray(values))
    return image


def test_alpha_becomes_the_mask_and_hidden_pixels_turn_grey(tmp_path):
    alpha = np.zeros((H, W), np.uint8)
    alpha[50:150, 60:200] = 255
    with_alpha(alpha).save(tmp_path / "a.png")
    image, mask, _ = load_portrait(tmp_path / "a.png")
    assert torch.equal(mask[0] > 0.5, torch.from_numpy(alpha > 0))
    assert torch.equal(image[:, 60, 70], expected()[:, 60, 70])
    assert float(image[:, 0, 0].abs().max()) == 0


def test_opaque_alpha_is_no_mask_and_full_transparency_is_an_error(tmp_path):
    with_alpha(np.full((H, W), 255, np.uint8)).save(tmp_path / "a.png")
    assert load_portrait(tmp_path / "a.png").mask is None
    with_alpha(np.zeros((H, W), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="transparent everywhere"):
        load_portrait(tmp_path / "b.png")


def test_palette_transparency(tmp_path):
    image = picture().quantize(16)
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    mask = load_portrait(tmp_path / "a.png").mask
    assert float(mask[0, 0, 0]) == 0 and float(mask.max()) == 1


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_large_pictures_are_made_smaller(tmp_path, suffix):
    picture().resize((4000, 3000)).save(tmp_path / f"a.{suffix}")
    image, _, source = load_portrait(tmp_path / f"a.{suffix}")
    assert source == (3000, 4000) and image.shape == (3, LONGEST * 3 // 4, LONGEST)
    small = torch.nn.functional.interpolate(image[None], (H, W), mode="area")[0]
    assert (small - expected()).abs().mean() < 0.03


def test_small_and_damaged_pictures_are_refused(tmp_path):
    picture().resize((100, 200)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="too small"):
        load_portrait(tmp_path / "small.png")
    for suffix in ("png", "jpg", "webp"):
        whole = io.BytesIO()
        picture().save(whole, {"jpg": "jpeg"}.get(suffix, suffix))
        (tmp_path / f"cut.{suffix}").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        with pytest.raises(ValueError, match="no readable picture"):
            load_portrait(tmp_path / f"cut.{suffix}")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="no readable picture"):
        load_portrait(tmp_path / "text.png")
    with pytest.raises(ValueError, match="folder"):
        load_portrait(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        load_portrait(tmp_path / "nothing.png")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="too large"):
        load_portrait(tmp_path / "a.png")


def test_mask_files(tmp_path):
    mask = np.zeros((H * 2, W * 2), np.uint8)
    mask[100:200, 100:300] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    found = load_mask(tmp_path / "m.png", (H, W))
    assert found.shape == (1, H, W) and float(found[0, 70, 100]) > 0.98 and float(found[0, 10, 10]) < 0.02
    with_alpha(np.asarray(Image.fromarray(mask).resize((W, H)))).save(tmp_path / "rgba.png")
    assert torch.allclose(load_mask(tmp_path / "rgba.png", (H, W)), found, atol=0.6)
    with pytest.raises(ValueError, match="another shape"):
        load_mask(tmp_path / "m.png", (H, W // 2))
    Image.fromarray(mask * 0).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match="black everywhere"):
        load_mask(tmp_path / "black.png", (H, W))


def test_background_fills_the_canvas_and_round_trips(tmp_path):
    save_image(expected(), tmp_path / "new" / "b.png")
    assert torch.allclose(load_background(tmp_path / "new" / "b.png", (H, W)), expected(), atol=1e-2)
    square = load_background(tmp_path / "new" / "b.png", (64, 64))
    assert square.shape == (3, 64, 64)
    assert abs(float(square[0, :, 32].mean())) < 0.05  # the middle of the red ramp stays in the middle
