"""Loader nodes: one file, one network. "nano (embedded)" needs no download; other files lie in models/stereotalker."""

from __future__ import annotations

from ..stereotalker_core.checkpoint import NANO, load
from . import host

CATEGORY = "Stereo-Talker/load"


def _file(tip: str) -> dict:
    return {"required": {"model_name": (host.model_choices(), {"tooltip": tip})}}


class LoadAudioEncoder:
    DISPLAY_NAME = "Load Audio Encoder (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "The wav2vec 2.0 style network that hears the speech."
    SEARCH_ALIASES = ["wav2vec", "speech encoder", "audio model"]
    RETURN_TYPES = ("ST_AUDIO_ENCODER",)
    RETURN_NAMES = ("audio_encoder",)
    OUTPUT_TOOLTIPS = ("For Encode Speech.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return _file("Audio encoder file.")

    def load(self, model_name: str):
        from ..stereotalker_core.audio.encoder import SpeechEncoder

        path = host.resolve_model(model_name, NANO / "audio_encoder.safetensors")
        return (host.Managed(load(SpeechEncoder, path)),)


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
        names = host.model_choices()
        return {
            "required": {
                "model_name": (names, {"tooltip": "Motion denoiser file."}),
                "prior_name": (names, {"tooltip": "Language-model prior file; it brings meaning into the gestures."}),
            }
        }

    def load(self, model_name: str, prior_name: str):
        from ..stereotalker_core.motion.denoiser import MotionDenoiser
        from ..stereotalker_core.motion.prior import LanguagePrior

        denoiser = load(MotionDenoiser, host.resolve_model(model_name, NANO / "motion_denoiser.safetensors"))
        prior = load(LanguagePrior, host.resolve_model(prior_name, NANO / "prior.safetensors"))
        return (host.Managed(prior, denoiser),)


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
        from ..stereotalker_core.video.mask import MaskPredictor

        path = host.resolve_model(model_name, NANO / "mask_predictor.safetensors")
        return (host.Managed(load(MaskPredictor, path)),)


class LoadRenderer:
    DISPLAY_NAME = "Load Renderer (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Stage 2: the latent diffusion U-Net with its reference network as a MODEL for any sampler, and its VAE. "
        "Both serve Render Video, and Stereo-Talker Conditioning with the stock KSampler and VAE Decode."
    )
    SEARCH_ALIASES = ["renderer", "u-net", "video diffusion model", "vae", "checkpoint"]
    RETURN_TYPES = ("MODEL", "VAE")
    RETURN_NAMES = ("model", "vae")
    OUTPUT_TOOLTIPS = (
        "For Load View-MoE, Load Mask-MoE, Render Video, or KSampler.",
        "For Render Video and Stereo-Talker Conditioning.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        names = host.model_choices()
        return {
            "required": {
                "unet_name": (names, {"tooltip": "Denoiser file."}),
                "reference_name": (names, {"tooltip": "Reference network file; it reads the portrait."}),
                "vae_name": (names, {"tooltip": "Autoencoder file with the guided decoder."}),
            }
        }

    def load(self, unet_name: str, reference_name: str, vae_name: str):
        from ..stereotalker_core.video.reference import ReferenceNet
        from ..stereotalker_core.video.unet import StereoTalkerUNet
        from ..stereotalker_core.video.vae import TinyAutoencoder

        unet = load(StereoTalkerUNet, host.resolve_model(unet_name, NANO / "unet.safetensors"))
        reference = load(ReferenceNet, host.resolve_model(reference_name, NANO / "reference.safetensors"))
        vae = host.ClipVAE(host.Managed(load(TinyAutoencoder, host.resolve_model(vae_name, NANO / "vae.safetensors"))))
        return host.make_model(unet, reference, vae.preview_factors(), unet_name), vae


def _experts_inputs(tip: str) -> dict:
    strength = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05, "tooltip": "0 = the renderer without experts."}
    return {
        "required": {
            "model": ("MODEL", {"tooltip": "From Load Renderer or another expert loader."}),
            "experts_name": (host.model_choices(), {"tooltip": tip}),
            "strength": ("FLOAT", strength),
        }
    }


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
        return _experts_inputs("View experts file.")

    def load(self, model, experts_name: str, strength: float):
        from ..stereotalker_core.video.experts import ViewExperts

        experts = load(ViewExperts, host.resolve_model(experts_name, NANO / "view_experts.safetensors"))
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
        return _experts_inputs("Mask experts file.")

    def load(self, model, experts_name: str, strength: float):
        from ..stereotalker_core.video.experts import MaskExperts

        experts = load(MaskExperts, host.resolve_model(experts_name, NANO / "mask_experts.safetensors"))
        return (host.with_experts(model, "mask", host.Managed(experts), strength),)


NODES = {
    "StereoTalkerLoadAudioEncoder": LoadAudioEncoder,
    "StereoTalkerLoadMotionModel": LoadMotionModel,
    "StereoTalkerLoadMaskPredictor": LoadMaskPredictor,
    "StereoTalkerLoadRenderer": LoadRenderer,
    "StereoTalkerLoadViewMoE": LoadViewMoE,
    "StereoTalkerLoadMaskMoE": LoadMaskMoE,
}
