"""Loader nodes: one file, one network. "nano (embedded)" needs no download; other files lie in models/stereotalker.

Public weights load unchanged: a folder with an AnimateAnyone-type set, speech encoders of models/audio_encoders, and
language models of models/LLM. Tensors that belong to no network are an error that names them."""

from __future__ import annotations

from ..stereotalker_core.checkpoint import NANO, load
from ..stereotalker_core.precision import channels_last_weights
from . import host
from .options import widget

CATEGORY = "Stereo-Talker/load"


def _file(tip: str) -> dict:
    return {"required": {"model_name": (host.model_choices(), {"tooltip": tip})}}


class LoadAudioEncoder:
    DISPLAY_NAME = "Load Audio Encoder (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "The network that hears the speech: nano's, or a public wav2vec 2.0, HuBERT, WavLM or Whisper."
    SEARCH_ALIASES = ["wav2vec", "speech encoder", "audio model", "hubert", "wavlm", "whisper"]
    RETURN_TYPES = ("ST_AUDIO_ENCODER",)
    RETURN_NAMES = ("audio_encoder",)
    OUTPUT_TOOLTIPS = ("For Encode Speech.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "Audio encoder file; or a file or model folder of models/audio_encoders."
        return {"required": {"model_name": (host.model_choices(*host.AUDIO), {"tooltip": tip})}}

    def load(self, model_name: str):
        from ..stereotalker_core.convert.speech import load_speech_model

        path = host.resolve_model(model_name, NANO / "audio_encoder.safetensors")
        return (host.Managed(load_speech_model(path)[0]),)


class LoadMotionModel:
    DISPLAY_NAME = "Load Motion Model (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Stage 1: the motion diffusion model and its language-model prior."
    SEARCH_ALIASES = ["motion diffusion", "llm prior", "gesture model"]
    RETURN_TYPES = ("ST_MOTION_MODEL",)
    RETURN_NAMES = ("motion_model",)
    OUTPUT_TOOLTIPS = ("For Sample Motion.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "Language-model prior file, which brings meaning into the gestures; or a language model of models/LLM."
        return {
            "required": {
                "model_name": (host.model_choices(), {"tooltip": "Motion denoiser file."}),
                "prior_name": (host.model_choices(*host.LANGUAGE), {"tooltip": tip}),
            }
        }

    def load(self, model_name: str, prior_name: str):
        from ..stereotalker_core.motion.networks.denoiser import MotionDenoiser

        denoiser = load(MotionDenoiser, host.resolve_model(model_name, NANO / "motion_denoiser.safetensors"))
        prior = _prior(host.resolve_model(prior_name, NANO / "prior.safetensors"), denoiser.config.features)
        if prior.track_width != denoiser.config.prior:
            raise ValueError(
                f"{prior_name} gives {prior.track_width} channels, {model_name} was trained with a prior of "
                f"{denoiser.config.prior}: take both of one training, or train a motion model with this prior "
                "(`python -m stereotalker_core train motion`)"
            )
        return (host.Managed(prior, denoiser),)


def _prior(path, features: int):
    """Load a prior file, or a language model (folder or .gguf) as a prior with new adapters.

    path: the file or folder; features: width of the speech features that a new prior reads, 0 for none."""
    from ..stereotalker_core.motion.networks.prior import LanguagePrior

    if path.suffix == ".safetensors":
        return load(LanguagePrior, path)
    from ..stereotalker_core.convert.language import load_language_model

    return load_language_model(path, features=features)[0]


class LoadMaskPredictor:
    DISPLAY_NAME = "Load Mask Predictor (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "The network that finds background, body, face and hands in every frame of the video to come."
    SEARCH_ALIASES = ["mask predictor", "matte", "segmentation"]
    RETURN_TYPES = ("ST_MASK_PREDICTOR",)
    RETURN_NAMES = ("mask_predictor",)
    OUTPUT_TOOLTIPS = ("For Predict Masks and Render Video.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return _file("Mask predictor file.")

    def load(self, model_name: str):
        from ..stereotalker_core.video.networks.mask import MaskPredictor

        path = host.resolve_model(model_name, NANO / "mask_predictor.safetensors")
        return (host.Managed(load(MaskPredictor, path)),)


class LoadRenderer:
    DISPLAY_NAME = "Load Renderer (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Stage 2: the latent diffusion U-Net with its reference network as a MODEL for any sampler, and its VAE. "
        "Both serve Render Video, and Stereo-Talker Conditioning with the stock KSampler and VAE Decode. Full-size "
        "sets of the AnimateAnyone type go the same way."
    )
    SEARCH_ALIASES = ["renderer", "u-net", "video diffusion model", "vae", "checkpoint", "animateanyone"]
    RETURN_TYPES = ("MODEL", "VAE")
    RETURN_NAMES = ("model", "vae")
    OUTPUT_TOOLTIPS = (
        "For Load View-MoE, Load Mask-MoE, Render Video, or KSampler.",
        "For Render Video and Stereo-Talker Conditioning.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        names = host.model_choices(host.FILES, host.SETS)
        own = "beside a set, nano (embedded) stands for the set's own."
        return {
            "required": {
                "unet_name": (names, {"tooltip": "Denoiser file, or the folder of a full-size set."}),
                "reference_name": (names, {"tooltip": f"Reference network, which reads the portrait; {own}"}),
                "vae_name": (
                    host.model_choices(host.FILES, host.SETS, *host.VAES),
                    {"tooltip": f"Autoencoder file: nano's guided one, or Stable Diffusion's or TAESD; {own}"},
                ),
            }
        }

    def load(self, unet_name: str, reference_name: str, vae_name: str):
        unet = host.resolve_model(unet_name, NANO / "unet.safetensors")
        if unet.is_dir():
            return _full_size(unet, unet_name, reference_name, vae_name)
        return _one_by_one(unet, unet_name, reference_name, vae_name)


def _one_by_one(path, unet_name: str, reference_name: str, vae_name: str):
    """Make MODEL and VAE from three files in our format: the nano profile's, or others trained like them.

    path: the file of unet_name; unet_name, reference_name, vae_name: entries of the combos, unet_name for messages."""
    from ..stereotalker_core.convert.weights import stored_config
    from ..stereotalker_core.video.networks.reference import ReferenceNet
    from ..stereotalker_core.video.networks.unet import StereoTalkerUNet
    from ..stereotalker_core.video.networks.vae import TinyAutoencoder

    if stored_config(path).get("tokens") == 0:
        raise ValueError(
            f"{unet_name} is a full-size denoiser: name it unet.safetensors, put it with reference.safetensors, vae "
            "and image_encoder into a folder of models/stereotalker, and choose that folder"
        )
    unet = load(StereoTalkerUNet, path)
    reference = load(ReferenceNet, _file_of(reference_name, "reference.safetensors"))
    network = load(TinyAutoencoder, _file_of(vae_name, "vae.safetensors"))
    _same_latents(unet_name, unet, vae_name, network)
    vae = host.ClipVAE(host.Managed(network))
    return host.make_model(unet, reference, vae.preview_factors(), unet_name), vae


def _file_of(name: str, embedded: str):
    path = host.resolve_model(name, NANO / embedded)
    if path.is_dir():
        raise ValueError(f"{name} is a full-size set: choose it as unet_name, too, or take another file here")
    return path


def _full_size(folder, unet_name: str, reference_name: str, vae_name: str):
    """Make MODEL and VAE from a full-size set; a reference network or autoencoder from elsewhere replaces the set's.

    folder: where the set is; unet_name, reference_name, vae_name: entries of the combos."""

    from ..stereotalker_core.convert.encoders import load_autoencoder
    from ..stereotalker_core.convert.renderer import load_reference
    from ..stereotalker_core.convert.sets import load_networks, load_set_encoder, load_set_vae

    kind, vae_kind = host.weight_dtype(), host.weight_dtype(vae=True)
    unet, reference, _ = load_networks(folder, kind)
    other = host.resolve_model(reference_name, folder)
    if other.is_file():
        reference, _ = load_reference(other, dtype=kind)
    elif other != folder:
        reference = load_networks(other, kind)[1]
    if unet.config.reference() != reference.config:
        raise ValueError(f"{reference_name} and {unet_name} are of different sizes; take both from one set")
    source = host.resolve_model(vae_name, folder)
    network, _ = (load_set_vae if source.is_dir() else load_autoencoder)(source, dtype=vae_kind)
    _same_latents(unet_name, unet, vae_name, network)
    encoder, _ = load_set_encoder(folder, kind)
    if encoder.config.out != unet.config.cross_dim:
        raise ValueError(
            f"the image encoder of {unet_name} gives {encoder.config.out} channels, its denoiser reads "
            f"{unet.config.cross_dim}; take image_encoder of sd-image-variations-diffusers"
        )
    for part in (unet, reference, network):
        channels_last_weights(part)
    vae = host.ClipVAE(host.Managed(network, encoder), guides=unet.config.guides)
    return host.make_model(unet, reference, None, unet_name.rstrip("/")), vae


def _same_latents(unet_name: str, unet, vae_name: str, vae) -> None:
    if unet.config.latent_channels != vae.config.latent_channels:
        raise ValueError(
            f"{vae_name} has {vae.config.latent_channels} latent channels, {unet_name} {unet.config.latent_channels}; "
            "take both from one set"
        )


class RendererSettings:
    DISPLAY_NAME = "Renderer Settings (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "How a full-size set is sampled: guidance, context windows of its motion modules, tiles of its decoder. The "
        "nano renderer has none of these."
    )
    SEARCH_ALIASES = ["context windows", "guidance", "cfg", "closed loop", "tiled vae", "animateanyone"]
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The same renderer with these settings.",)
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls):
        def whole(default, low, high, tip, step=1):
            return ("INT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tip})

        strongly = "How strongly Render Video follows the portrait; 1 = half the time. KSampler has a cfg."
        guidance = {"default": 3.5, "min": 1.0, "max": 20.0, "step": 0.1, "tooltip": strongly}
        loop = {"default": True, "tooltip": "The last window wraps round to the first frames."}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "From Load Renderer with a full-size set."}),
                "guidance": ("FLOAT", guidance),
                "context_length": whole(24, 1, 32, "Frames that the motion modules see at once."),
                "context_overlap": whole(4, 0, 31, "Frames that neighbouring windows share."),
                "closed_loop": ("BOOLEAN", loop),
                "tile_size": whole(0, 0, 2048, "Pixels of decoded tiles in Render Video, 192 or more; 0 = whole.", 64),
                "run_length": whole(96, 1, 960, "Frames that Render Video denoises together; runs are cross-faded."),
            }
        }

    def apply(
        self,
        model,
        guidance: float,
        context_length: int,
        context_overlap: int,
        closed_loop: bool,
        tile_size: int,
        run_length: int,
    ):
        if tile_size and tile_size < 192:
            raise ValueError(f"tile_size {tile_size} is too small for the overlap of tiles; give 0, or 192 and more")
        settings = host.Sampling(guidance, context_length, context_overlap, closed_loop, tile_size, run_length)
        return (host.with_sampling(model, settings),)


def _experts_inputs(tip: str, name: str) -> dict:
    from ..stereotalker_core.video.rendering.bundle import Bundle

    return {
        "required": {
            "model": ("MODEL", {"tooltip": "From Load Renderer or another expert loader."}),
            "experts_name": (host.model_choices(), {"tooltip": tip}),
            "strength": widget(Bundle, name),
        }
    }


def _experts(model, cls: type, name: str, embedded: str):
    """Load experts from a file -> a module of class `cls`.

    model: the MODEL that the experts are for; ValueError where they were made for another one.
    cls: ViewExperts or MaskExperts.
    name: entry of the combo.
    embedded: name of the embedded file."""
    from ..stereotalker_core.convert.upcycle import fits

    unet, _ = host.networks_of(model)
    experts = load(cls, host.resolve_model(name, NANO / embedded))
    fits(unet, experts, name)
    return experts


class LoadViewMoE:
    DISPLAY_NAME = "Load View-MoE (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "View-guided mixture of experts: appearance particular to each side of the person. Works like a LoRA."
    SEARCH_ALIASES = ["view moe", "mixture of experts", "view experts", "lora"]
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The renderer with view experts.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return _experts_inputs("View experts file.", "view_strength")

    def load(self, model, experts_name: str, strength: float):
        from ..stereotalker_core.video.networks.experts import ViewExperts

        experts = _experts(model, ViewExperts, experts_name, "view_experts.safetensors")
        return (host.with_experts(model, "view", host.Managed(experts), strength),)


class LoadMaskMoE:
    DISPLAY_NAME = "Load Mask-MoE (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Mask-guided mixture of experts: stable face, hands and body by their masks. Works like a LoRA."
    SEARCH_ALIASES = ["mask moe", "mixture of experts", "region experts", "lora"]
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The renderer with mask experts.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return _experts_inputs("Mask experts file.", "mask_strength")

    def load(self, model, experts_name: str, strength: float):
        from ..stereotalker_core.video.networks.experts import MaskExperts

        experts = _experts(model, MaskExperts, experts_name, "mask_experts.safetensors")
        return (host.with_experts(model, "mask", host.Managed(experts), strength),)


NODES = {
    "StereoTalkerLoadAudioEncoder": LoadAudioEncoder,
    "StereoTalkerLoadMotionModel": LoadMotionModel,
    "StereoTalkerLoadMaskPredictor": LoadMaskPredictor,
    "StereoTalkerLoadRenderer": LoadRenderer,
    "StereoTalkerRendererSettings": RendererSettings,
    "StereoTalkerLoadViewMoE": LoadViewMoE,
    "StereoTalkerLoadMaskMoE": LoadMaskMoE,
}
