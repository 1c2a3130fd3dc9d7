"""Shapes of stock nodes that need other models' weights: for graphs that are drawn and checked here, and run elsewhere.

Inputs, defaults and order are those of ComfyUI 0.3.64.
"""


def shape(inputs: dict, returns: str, names: str = "", optional: dict | None = None) -> type:
    """A class that has the sockets of a stock node and cannot run. returns, names: words with spaces between."""
    fields = {
        "RETURN_TYPES": tuple(returns.split()),
        "RETURN_NAMES": tuple((names or returns).split()),
        "INPUT_TYPES": classmethod(lambda cls: {"required": inputs, "optional": optional or {}}),
    }
    return type("Shape", (), fields)


def whole(default: int) -> tuple:
    return ("INT", {"default": default})


MODEL, CLIP, VAE, IMAGE, MASK, LATENT = (("MODEL",), ("CLIP",), ("VAE",), ("IMAGE",), ("MASK",), ("LATENT",))
SIDES = {"positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "vae": VAE}
TEXT = ("STRING", {"default": "", "multiline": True})
VACE = SIDES | {"width": whole(832), "height": whole(480), "length": whole(81), "batch_size": whole(1)}
ANIMATE = VACE | {"length": whole(77), "continue_motion_max_frames": whole(5), "video_frame_offset": whole(0)}
PICTURES = ("reference_image", "face_video", "pose_video", "background_video")

SHAPES = {
    "UNETLoader": shape({"unet_name": (["?"],), "weight_dtype": (["default"],)}, "MODEL"),
    "CLIPLoader": shape(
        {"clip_name": (["?"],), "type": (["stable_diffusion", "wan"],)}, "CLIP", "", {"device": (["default"],)}
    ),
    "VAELoader": shape({"vae_name": (["?"],)}, "VAE"),
    "CLIPVisionLoader": shape({"clip_name": (["?"],)}, "CLIP_VISION"),
    "CheckpointLoaderSimple": shape({"ckpt_name": (["?"],)}, "MODEL CLIP VAE"),
    "CLIPTextEncode": shape({"text": TEXT, "clip": CLIP}, "CONDITIONING"),
    "CLIPVisionEncode": shape(
        {"clip_vision": ("CLIP_VISION",), "image": IMAGE, "crop": (["center", "none"],)}, "CLIP_VISION_OUTPUT"
    ),
    "ModelSamplingSD3": shape({"model": MODEL, "shift": ("FLOAT", {"default": 3.0})}, "MODEL"),
    "VAEEncode": shape({"pixels": IMAGE, "vae": VAE}, "LATENT"),
    "SetLatentNoiseMask": shape({"samples": LATENT, "mask": MASK}, "LATENT"),
    "TrimVideoLatent": shape({"samples": LATENT, "trim_amount": whole(0)}, "LATENT"),
    "ImageFromBatch": shape({"image": IMAGE, "batch_index": whole(0), "length": whole(1)}, "IMAGE"),
    "WanVaceToVideo": shape(
        VACE | {"strength": ("FLOAT", {"default": 1.0})},
        "CONDITIONING CONDITIONING LATENT INT", "positive negative latent trim_latent",
        {"control_video": IMAGE, "control_masks": MASK, "reference_image": IMAGE},
    ),
    "WanAnimateToVideo": shape(
        ANIMATE, "CONDITIONING CONDITIONING LATENT INT INT INT",
        "positive negative latent trim_latent trim_image video_frame_offset",
        {"clip_vision_output": ("CLIP_VISION_OUTPUT",), **dict.fromkeys(PICTURES, IMAGE), "character_mask": MASK},
    ),
}  # fmt: skip
