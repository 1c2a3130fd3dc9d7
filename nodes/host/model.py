"""The renderer as a MODEL for any sampler of ComfyUI. Outside ComfyUI it is a plain object with the same parts.

A video's conditions are passed in CONDITIONING as a `Clip`; experts are patches of the MODEL, like a LoRA: a clone has
them, the shared weights never change, and a strength of 0 is the base model bitwise."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .folders import INSIDE
from .memory import Managed, patcher_of
from .progress import check_finite, check_interrupted, interruptible

if TYPE_CHECKING:
    from ...stereotalker_core.video.networks.reference import ReferenceNet
    from ...stereotalker_core.video.networks.unet import StereoTalkerUNet

KEY, NAME_KEY, SAMPLING_KEY = "stereotalker_experts", "stereotalker_name", "stereotalker_sampling"  # of its options
_STRIDE = 8  # px per latent
_BYTES_PER_PIXEL = 1200  # activations of one window per pixel and frame, measured
_FULL_BYTES_PER_PIXEL = 300  # of a full-size one: twice what tools/vram_table.py computes


@dataclass(frozen=True)
class Sampling:
    """The sampling settings of a full-size set.

    guidance: strength of classifier-free guidance in Render Video (KSampler has its cfg); 1 = none.
    length, overlap, closed: context windows of the motion modules, see `ContextWindows`.
    tile: side in px of the tiles in which pictures are decoded, 0 = whole pictures.
    run: frames that Render Video denoises together; longer videos are cross-faded."""

    guidance: float = 3.5
    length: int = 24
    overlap: int = 4
    closed: bool = True
    tile: int = 0
    run: int = 96

    def windows(self, longest: int = 32):
        """Return ContextWindows of at most `longest` frames; ValueError where the overlap does not fit."""
        from ...stereotalker_core.video.networks.contexts import ContextWindows

        return ContextWindows(min(self.length, longest), self.overlap, self.closed)

    @property
    def tile_latents(self) -> int | None:
        """Return the side of a tile in latents; None = whole pictures."""
        return self.tile // 8 or None


class Denoiser(nn.Module):
    """The U-Net and reference network, called by samplers with all frames of a video at one noise level."""

    dtype = torch.float32
    unet: StereoTalkerUNet
    reference: ReferenceNet

    def __init__(self, unet: StereoTalkerUNet, reference: ReferenceNet):
        super().__init__()
        self.unet, self.reference = unet, reference

    @property
    def is_flow(self) -> bool:
        """Tell whether noise levels are those of flow matching; otherwise those of the variance-preserving zero-SNR
        schedule."""
        return self.unet.config.prediction == "residual"

    def renderer(self, **settings: object):
        """Return the core's renderer with these networks; settings: see `profiles.assemble`."""
        from ...stereotalker_core.video.rendering.profiles import assemble

        return assemble(self.unet, reference=self.reference, **settings)

    @property
    def latent_scale(self) -> float:
        """Return the factor that turns latents of LATENT sockets into those of the network; for full-size sets it is
        Stable Diffusion's."""
        return self.renderer().latent_scale

    def read(self, clip, conditional: bool) -> ClipRun:
        """Prepare a Clip for one sampling run: compute its portrait's tokens, reference keys and values, once.

        conditional: False for the unconditional side of guidance."""
        from ...stereotalker_core.video.rendering.clip import read_portrait, without_portrait

        with interruptible():
            portrait = read_portrait(self.renderer(), clip)
        return ClipRun(clip, portrait if conditional else without_portrait(portrait))

    def forward(
        self, x: Tensor, timesteps: Tensor, context=None, control=None, transformer_options=None, run=None, **unused
    ) -> Tensor:
        """Map noisy latents of a clip of T frames -> clean latents (n * T, C, h, w).

        x: (n * T, C, h, w) noisy latents; n is the number of sides of guidance that ComfyUI evaluates in one call, 1 or
            2.
        timesteps: noise levels on the profile's schedule, all equal.
        run: the clip and its portrait, from `read`; ValueError where it is None.
        transformer_options: hold the expert patches and the sampling settings.

        The other arguments are ComfyUI's and are ignored."""
        from ...stereotalker_core.video.rendering.clip import denoise_clip

        if run is None:
            raise ValueError("this MODEL needs the positive and negative outputs of Stereo-Talker Conditioning")
        _check_latents(x, run.clip)
        options = transformer_options or {}
        patches = options.get(KEY, {})
        experts = tuple((p.managed.modules[0], p.strength) for p in patches.values() if p.strength)
        sigma = float(timesteps[0]) / (1000 if self.is_flow else 999)
        sampling = options.get(SAMPLING_KEY, Sampling())
        renderer = self.renderer(windows=sampling.windows(self.unet.config.motion_length))
        with interruptible():
            clips = [
                denoise_clip(renderer, experts, run.clip, run.portrait, rows, sigma, lambda _: check_interrupted())
                for rows in x.split(len(run.clip))
            ]
        clean = torch.cat(clips)
        check_finite(clean, "the renderer")
        return clean


def _check_latents(x: Tensor, clip) -> None:
    """Raise ValueError where latents x (n * T, C, h, w) differ from the clip in size or length, saying what to connect.
    """
    told, given = (len(clip), *clip.lift.shape[-2:]), (len(x), *x.shape[-2:])
    if given[1:] != told[1:] or given[0] % told[0]:
        sizes = [f"{n} frames of {_STRIDE * columns} x {_STRIDE * rows} px" for n, rows, columns in (given, told)]
        raise ValueError(
            f"the latents are {sizes[0]}, the conditioning is for {sizes[1]}: connect the `latent` output of "
            "Stereo-Talker Conditioning to KSampler's latent_image"
        )


@dataclass(frozen=True, eq=False)
class ClipRun:
    """The input of one sampling run: a `Clip`, and its portrait's tokens, reference keys and values, computed once."""

    clip: object
    portrait: object


@dataclass(frozen=True)
class ExpertPatch:
    """The experts in a MODEL's options; shared, not copied, when ComfyUI deep-copies the options.

    managed: holds the experts; strength: factor on their output, 0 = off."""

    managed: Managed
    strength: float

    def __deepcopy__(self, memo: dict) -> ExpertPatch:
        return self


@dataclass
class PlainModel:
    """The replacement for MODEL outside ComfyUI: a network and its options, with the methods of ModelPatcher that we
    use."""

    model: Denoiser
    model_options: dict = field(default_factory=lambda: {"transformer_options": {}})

    @property
    def bundle(self) -> nn.ModuleList:
        patches = self.model_options["transformer_options"].get(KEY, {})
        return nn.ModuleList([self.model, *(patch.managed.bundle for patch in patches.values())])

    def clone(self) -> PlainModel:
        """Return a MODEL that shares the weights and has its own options."""
        return PlainModel(self.model, copy.deepcopy(self.model_options))


def make_model(unet: StereoTalkerUNet, reference: ReferenceNet, preview: tuple[list, list] | None, name: str):
    """Make a MODEL of a U-Net and its reference network.

    preview: RGB factors (C, 3) and bias (3,) that turn latents into preview pictures; None for SD 1.5's.
    name: the file they were loaded from, as shown to the user."""
    denoiser = Denoiser(unet, reference).requires_grad_(False)
    model = patcher_of(_base_model(denoiser, preview)) if INSIDE else PlainModel(denoiser)
    model.model_options["transformer_options"][NAME_KEY] = name
    return model


def with_sampling(model, sampling: Sampling):
    """Clone a full-size MODEL with other sampling settings.

    ValueError for a nano MODEL, and for context windows that are longer than its motion modules allow."""
    unet, _ = networks_of(model)
    if model_of(model).is_flow:
        raise ValueError("these settings are of full-size sets; the nano renderer has its own windows and no guidance")
    if sampling.length > unet.config.motion_length:
        raise ValueError(
            f"windows of {sampling.length} frames; the motion modules of this set reach {unet.config.motion_length}"
        )
    sampling.windows()
    patched = model.clone()
    patched.model_options["transformer_options"][SAMPLING_KEY] = sampling
    return patched


def sampling_of(model) -> Sampling:
    """Return the sampling settings of a full-size MODEL."""
    return model.model_options["transformer_options"].get(SAMPLING_KEY, Sampling())


def model_name(model) -> str:
    """Return the file a MODEL was loaded from, as shown by its loader."""
    return model.model_options["transformer_options"].get(NAME_KEY, "unknown")


def with_experts(model, kind: str, managed: Managed, strength: float):
    """Clone the MODEL with experts, replacing earlier ones of the same kind.

    kind: "view" or "mask"; managed: holds the experts; strength: factor on their output, 0 = off."""
    networks_of(model)  # refuses another pack's MODEL
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    options[KEY] = {**options.get(KEY, {}), kind: ExpertPatch(managed, strength)}
    if INSIDE:
        patched.set_additional_models(f"stereotalker_{kind}", [managed.patcher])
    return patched


def networks_of(model) -> tuple[StereoTalkerUNet, ReferenceNet]:
    """Return (U-Net, reference network) of our MODEL; ValueError for another."""
    denoiser = model_of(model)
    return denoiser.unet, denoiser.reference


def model_of(model) -> Denoiser:
    """Return the denoiser of our MODEL; ValueError for another."""
    inner = getattr(model, "model", None)
    denoiser = inner if isinstance(inner, Denoiser) else getattr(inner, "diffusion_model", None)
    if not isinstance(denoiser, Denoiser):
        raise ValueError("this node needs the MODEL of Load Renderer (Stereo-Talker)")
    return denoiser


def experts_of(model) -> dict[str, tuple[nn.Module, float]]:
    """Return {"view" or "mask": (experts, factor on their output)} of a MODEL, without those at 0."""
    patches = model.model_options["transformer_options"].get(KEY, {})
    return {kind: (p.managed.modules[0], p.strength) for kind, p in patches.items() if p.strength}


def _base_model(denoiser: Denoiser, preview: tuple[list, list] | None):
    """Wrap the denoiser in ComfyUI's BaseModel; preview: as in `make_model`."""
    import comfy.latent_formats
    import comfy.supported_models_base

    if preview is None:
        latents = comfy.latent_formats.SD15
    else:

        class latents(comfy.latent_formats.LatentFormat):  # noqa: N801
            latent_channels = denoiser.unet.config.latent_channels
            latent_rgb_factors, latent_rgb_factors_bias = preview

    class Config(comfy.supported_models_base.BASE):
        latent_format = latents
        # ComfyUI's name of betas that are linear themselves; its "linear" squares a line of their roots
        sampling_settings = (
            {} if denoiser.is_flow else {"beta_schedule": "sqrt_linear", "zsnr": denoiser.unet.config.prediction == "v"}
        )

    return _base_model_class()(Config({"disable_unet_model_creation": True}), denoiser)


@functools.cache
def _base_model_class() -> type:
    import comfy.conds
    import comfy.model_base
    import comfy.model_sampling

    sampling = comfy.model_sampling

    class _Clean:
        """The part of a model sampling that turns the network's output into clean latents: it changes nothing, as ours
        puts out clean latents."""

        def calculate_denoised(self, sigma, model_output, model_input):
            return model_output

    class Flow(_Clean, sampling.ModelSamplingDiscreteFlow, sampling.CONST):
        """The noise levels of flow matching: noisy latents are (1 - sigma) * clean + sigma * noise."""

    class Preserving(_Clean, sampling.ModelSamplingDiscrete, sampling.EPS):
        """The noise levels of Stable Diffusion (variance-preserving); with zero-SNR the last one is pure noise."""

    class StereoTalkerModel(comfy.model_base.BaseModel):
        """The ComfyUI model with Stereo-Talker's renderer for its samplers."""

        def __init__(self, config, denoiser: Denoiser):
            super().__init__(config, comfy.model_base.ModelType.FLOW)
            self.diffusion_model = denoiser
            kind: Any = Flow if denoiser.is_flow else Preserving
            self.model_sampling = kind(config)

        def extra_conds(self, **kwargs):
            clip = kwargs.get("stereotalker_clip")
            if clip is None:
                raise ValueError("this MODEL needs the positive and negative outputs of Stereo-Talker Conditioning")
            run = self.diffusion_model.read(clip, kwargs.get("stereotalker_portrait", True))
            return {"run": comfy.conds.CONDConstant(run)}

        def memory_required(self, input_shape, cond_shapes=None):
            pixels = math.prod(input_shape[-2:]) * 64  # of a frame: latents are eight times smaller
            bytes_per_pixel = _BYTES_PER_PIXEL if self.diffusion_model.is_flow else _FULL_BYTES_PER_PIXEL
            return min(input_shape[0], 32) * pixels * bytes_per_pixel

    return StereoTalkerModel
