"""Stock nodes of ComfyUI that compute something, as plain stand-ins for graphs that run without ComfyUI.

Inputs, defaults and order are those of ComfyUI 0.3.64, so that a graph made with them is right there, too. KSampler
has Euler on the "simple" schedule only: what the example graphs use; flow levels for nano, Stable Diffusion's for
full-size sets.
"""

import torch
import torch.nn.functional as F

SAMPLERS = ["euler", "dpmpp_2m", "lcm"]
SCHEDULERS = ["simple", "sgm_uniform", "normal"]


def simple_sigmas(steps: int) -> torch.Tensor:
    """ComfyUI's "simple" scheduler over 1000 flow levels: (steps + 1,), from 1 to 0."""
    levels = torch.arange(1, 1001) / 1000
    return torch.tensor([float(levels[-(1 + int(i * 1000 / steps))]) for i in range(steps)] + [0.0])


def preserving_sigmas(steps: int, zero_snr: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """ComfyUI's "simple" scheduler over 1000 linear betas: sigmas (steps + 1,) down to 0, and the table (1000,)."""
    root = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0).sqrt()
    if zero_snr:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        root[-1] = 4.8973451890853435e-08**0.5  # as ComfyUI: not quite zero
    table = ((1 - root**2) / root**2).sqrt().float()
    return torch.tensor([float(table[-(1 + int(i * 1000 / steps))]) for i in range(steps)] + [0.0]), table


def sample_preserving(model, runs, noise, latents, steps: int, cfg: float, denoise: float):
    """Euler from sigma to sigma over a full-size MODEL, guidance away from the second run."""
    unet, scale = model.model.unet, model.model.latent_scale
    sigmas, table = preserving_sigmas(int(steps / denoise), unet.config.prediction == "v")
    sigmas = sigmas[-(steps + 1) :]
    first = (1 + sigmas[0] ** 2) ** 0.5 if denoise == 1 else sigmas[0]
    x = noise * first + (0 if denoise == 1 else latents * scale)
    options = model.model_options["transformer_options"]
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        at = (table - sigma).abs().argmin().expand(len(x)).float()
        scaled = x / (1 + sigma**2) ** 0.5
        clean = [model.model(scaled, at, transformer_options=options, run=run) for run in runs]
        guided = clean[0] if cfg == 1 else clean[1] + cfg * (clean[0] - clean[1])
        x = x + (x - guided) / sigma * (following - sigma)
    return x / scale


class KSampler:
    """Euler steps over a MODEL of this pack; noise by seed and batch_index, as ComfyUI draws it."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "seed": ("INT", {"default": 0, "control_after_generate": True}),
                "steps": ("INT", {"default": 20}),
                "cfg": ("FLOAT", {"default": 8.0}),
                "sampler_name": (SAMPLERS,),
                "scheduler": (SCHEDULERS,),
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "denoise": ("FLOAT", {"default": 1.0}),
            }
        }

    def sample(self, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=1.0):
        assert (sampler_name, scheduler) == ("euler", "simple"), "the stand-in has one sampler"
        latents = latent_image["samples"]
        if not model.model.is_flow:
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
            sides = [positive] if cfg == 1 else [positive, negative]
            runs = [model.model.read(c[0][1]["stereotalker_clip"], c[0][1]["stereotalker_portrait"]) for c in sides]
            return ({**latent_image, "samples": sample_preserving(model, runs, noise, latents, steps, cfg, denoise)},)
        noise = torch.randn((1, *latents.shape[1:]), generator=torch.Generator().manual_seed(seed)).expand_as(latents)
        sigmas = simple_sigmas(int(steps / denoise))[-(steps + 1) :]
        x = sigmas[0] * noise + (1 - sigmas[0]) * latents
        sides = [positive] if cfg == 1 else [positive, negative]
        runs = [model.model.read(c[0][1]["stereotalker_clip"], c[0][1]["stereotalker_portrait"]) for c in sides]
        assert set(latent_image["batch_index"]) == {0}, "one noise for the clip"
        options = model.model_options["transformer_options"]
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            levels = sigma.expand(len(x)) * 1000
            clean = [model.model(x, levels, transformer_options=options, run=run) for run in runs]
            guided = clean[0] if cfg == 1 else clean[1] + cfg * (clean[0] - clean[1])
            mask = latent_image.get("noise_mask")
            if mask is not None:
                share = F.interpolate(mask[:, None], x.shape[-2:], mode="bilinear")
                guided = guided * share + latents * (1 - share)
            x = x + (x - guided) / sigma * (following - sigma)
        return ({**latent_image, "samples": x},)


class VAEDecode:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples, vae):
        return (vae.decode(samples["samples"]),)


class ImageStitch:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "stitch"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image1": ("IMAGE",),
                "direction": (["right", "down", "left", "up"], {"default": "right"}),
                "match_image_size": ("BOOLEAN", {"default": True}),
                "spacing_width": ("INT", {"default": 0}),
                "spacing_color": (["white", "black", "red", "green", "blue"], {"default": "white"}),
            },
            "optional": {"image2": ("IMAGE",)},
        }

    def stitch(self, image1, direction, match_image_size, spacing_width, spacing_color, image2):
        assert image1.shape[-3:] == image2.shape[-3:] or match_image_size
        assert spacing_width == 0 and direction in ("right", "down")
        axis, side = (2, 1) if direction == "right" else (1, 2)
        if image2.shape[side] != image1.shape[side]:
            factor = image1.shape[side] / image2.shape[side]
            size = [round(s * factor) for s in image2.shape[1:3]]
            image2 = F.interpolate(image2.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
        length = max(len(image1), len(image2))
        held = [torch.cat([i, i[-1:].expand(length - len(i), -1, -1, -1)]) for i in (image1, image2)]
        return (torch.cat(held, axis),)


class ImageScaleBy:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls):
        methods = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (methods,),
                "scale_by": ("FLOAT", {"default": 1.0}),
            }
        }

    def upscale(self, image, upscale_method, scale_by):
        out = F.interpolate(image.movedim(-1, 1), scale_factor=scale_by, mode="bicubic", antialias=True)
        return (out.clamp(0, 1).movedim(1, -1),)


class ImageCrop:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",),
                "width": ("INT", {"default": 512}),
                "height": ("INT", {"default": 512}),
                "x": ("INT", {"default": 0}),
                "y": ("INT", {"default": 0}),
            }
        }

    def crop(self, image, width, height, x, y):
        return (image[:, y : y + height, x : x + width],)


class InvertMask:
    RETURN_TYPES = ("MASK",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"mask": ("MASK",)}}

    def invert(self, mask):
        return (1 - mask,)


class GrowMask:
    RETURN_TYPES = ("MASK",)
    FUNCTION = "expand_mask"

    @classmethod
    def INPUT_TYPES(cls):
        shown = {"expand": ("INT", {"default": 0}), "tapered_corners": ("BOOLEAN", {"default": True})}
        return {"required": {"mask": ("MASK",), **shown}}

    def expand_mask(self, mask, expand, tapered_corners):
        assert expand > 0 and tapered_corners, "the stand-in grows by the four neighbours"
        for _ in range(expand):
            rows = F.max_pool2d(mask[:, None], (3, 1), 1, (1, 0))
            mask = torch.maximum(rows, F.max_pool2d(mask[:, None], (1, 3), 1, (0, 1)))[:, 0]
        return (mask,)


class MaskToImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "mask_to_image"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"mask": ("MASK",)}}

    def mask_to_image(self, mask):
        return (mask[..., None].expand(-1, -1, -1, 3).contiguous(),)


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "width": ("INT", {"default": 512}),
                "height": ("INT", {"default": 512}),
                "batch_size": ("INT", {"default": 1}),
                "color": ("INT", {"default": 0, "display": "color"}),
            }
        }

    def generate(self, width, height, batch_size, color):
        rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
        return (rgb.expand(batch_size, height, width, 3).contiguous(),)


class ImageCompositeMasked:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "destination": ("IMAGE",),
                "source": ("IMAGE",),
                "x": ("INT", {"default": 0}),
                "y": ("INT", {"default": 0}),
                "resize_source": ("BOOLEAN", {"default": False}),
            },
            "optional": {"mask": ("MASK",)},
        }

    def composite(self, destination, source, x, y, resize_source, mask=None):
        assert x == y == 0 and mask is not None
        if resize_source:
            source = F.interpolate(source.movedim(-1, 1), destination.shape[1:3], mode="bilinear").movedim(1, -1)
        source = source.expand_as(destination)
        return (torch.lerp(destination, source, mask[..., None]),)


NODES = {
    cls.__name__: cls
    for cls in (
        KSampler,
        VAEDecode,
        ImageStitch,
        ImageScaleBy,
        ImageCrop,
        InvertMask,
        GrowMask,
        MaskToImage,
        EmptyImage,
        ImageCompositeMasked,
    )
}
