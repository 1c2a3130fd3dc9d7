"""Example graphs that drive other models with what this pack renders; they need those models' files to run."""

from workflow_graphs import ANYWHERE, Graph

WAN = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
FILES = {  # of the loaders' first widget: folder of models/, and where ComfyUI finds it
    "wan2.1_vace_1.3B_fp16.safetensors": ("diffusion_models", f"{WAN}/diffusion_models"),
    "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors": (
        "diffusion_models", "https://huggingface.co/Kijai/WanVideo_comfy_fp8_scaled/resolve/main/Wan22Animate",
    ),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", f"{WAN}/text_encoders"),
    "wan_2.1_vae.safetensors": ("vae", f"{WAN}/vae"),
    "clip_vision_h.safetensors": ("clip_vision", f"{WAN}/clip_vision"),
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints", "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main",
    ),
}  # fmt: skip
OTHER = "Another model"
RATE, TALL = 16.0, {"width": 480, "height": 832}  # Wan's frames per second and shape
WANTED = "A person talks to the camera, natural light, sharp photograph"
UNWANTED = "blurred, distorted face, extra fingers, still picture, text"


def models_of(values: list) -> list[dict]:
    """Return [{"name", "url", "directory"}], by which ComfyUI offers to download the files named in widget values."""
    return [
        {"name": value, "url": f"{FILES[value][1]}/{value}", "directory": FILES[value][0]}
        for value in values
        if isinstance(value, str) and value in FILES
    ]


class Mix(Graph):
    """The builder of an example graph that hands what this pack renders to another model."""

    def other(self, column: int, name: str, kind: str, values: dict | None = None, **wires: str) -> None:
        self.add(name, kind, values, **wires)
        self.rows[-1].at = (OTHER, column)

    def guided(self) -> None:
        """Add the person, the performance at Wan's frame rate, a tall camera, and its guides."""
        self.inputs()
        self.person()
        self.performance()
        self.add("rate", "StereoTalkerEditMotion", {"fps": RATE}, motion="motion:motion")
        self.rows[-1].at = ("Camera", 0)
        self.camera(motion="rate:motion", yaw=20.0, framing="half_body", **TALL)
        given = {"identity": "fit:identity", "motion": "rate:motion", "cameras": "camera:cameras"}
        self.add("guides", "StereoTalkerRenderGuides", **given)

    def wan(self, unet: str) -> None:
        self.other(0, "unet", "UNETLoader", {"unet_name": unet, "weight_dtype": "default"})
        text = {"clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "type": "wan"}
        self.other(0, "clip", "CLIPLoader", text)
        self.other(0, "wan_vae", "VAELoader", {"vae_name": "wan_2.1_vae.safetensors"})
        self.other(1, "wanted", "CLIPTextEncode", {"text": WANTED}, clip="clip:CLIP")
        self.other(1, "unwanted", "CLIPTextEncode", {"text": UNWANTED}, clip="clip:CLIP")
        self.other(1, "shift", "ModelSamplingSD3", {"shift": 8.0}, model="unet:MODEL")

    def sampled(self, told: str, column: int, trim_pictures: str | None = None) -> str:
        """Add a KSampler and the decoder for the model -> link of the pictures, without those of the reference picture.

        told: node with the conditioning and latents; column: place of the sampler; trim_pictures: not used."""
        settings = {"steps": 20, "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple", "seed": 1}
        sides = {side: f"{told}:{side}" for side in ("positive", "negative")}
        self.other(
            column, "sampler", "KSampler", settings, model="shift:MODEL", latent_image=f"{told}:latent", **sides
        )  # fmt: skip
        trim = {"samples": "sampler:LATENT", "trim_amount": f"{told}:trim_latent"}
        self.other(column + 1, "trim", "TrimVideoLatent", **trim)
        self.other(column + 1, "decode", "VAEDecode", samples="trim:LATENT", vae="wan_vae:VAE")
        return "decode:IMAGE"

    def also(self, name: str, images: str, rate: float | None = None, fps: str | None = None) -> None:
        """Add nodes that save pictures as a video with the sound; they need no files of other models.

        name: part of the video's name; images: the output of a node that has the pictures.
        rate: frames per second as a number, None = 25; fps: the output of a node that gives them, used instead where
            given."""
        wires = {"images": images, "audio": "example:audio"} | ({"fps": fps} if fps else {})
        self.add(f"{name}_video", "CreateVideo", {"fps": rate or 25.0}, **wires)
        prefix = {"filename_prefix": f"video/StereoTalker_{name}"}
        self.add(f"{name}_save", "SaveVideo", prefix, video=f"{name}_video:VIDEO")


def wan_vace() -> Graph:
    g = Mix(
        "## Wan VACE by our skeleton and depth\nThe motion at 16 frames per second steers two *WanVaceToVideo* nodes, "
        "one behind the other: skeleton, then depth at half strength; the portrait is the reference. " + ANYWHERE,
        "Needs wan2.1_vace_1.3B, its text encoder and VAE (press *Download* where ComfyUI offers it); the *control* "
        "video needs none of them. `length` is 4 n + 1 frames, 16 a second. *lift* instead of *depth* keeps clothes.",
    )
    g.guided()
    g.wan("wan2.1_vace_1.3B_fp16.safetensors")
    shared = TALL | {"length": 81}
    g.other(
        2, "pose", "WanVaceToVideo", shared, positive="wanted:CONDITIONING", negative="unwanted:CONDITIONING",
        vae="wan_vae:VAE", control_video="guides:skeleton", reference_image="example:image",
    )  # fmt: skip
    g.other(
        3, "deep", "WanVaceToVideo", shared | {"strength": 0.5}, positive="pose:positive", negative="pose:negative",
        vae="wan_vae:VAE", control_video="guides:depth", reference_image="example:image",
    )  # fmt: skip
    g.also("wan", g.sampled("deep", 4), RATE)
    g.also("control", g.stitch("control", "guides:skeleton", "guides:depth"), RATE)
    return g


def wan_animate() -> Graph:
    g = Mix(
        "## Wan Animate by our skeleton and face\nThe skeleton is *pose_video*, our own rendering of the head is "
        "*face_video*, the silhouette says where the person is, and the background stays. " + ANYWHERE,
        "Needs Wan 2.2 Animate 14B, its text encoder, VAE and clip_vision_h. The *control* video needs none of them. "
        "`length` is 4 n + 1 frames: 16 a second.",
    )
    g.guided()
    g.add("renderer", "StereoTalkerLoadRenderer")
    g.camera("face_camera", motion="rate:motion", framing="portrait", size=512, distance=0.6)
    g.add(
        "face", "StereoTalkerRenderVideo", {"hands": "off"}, model="renderer:model", vae="renderer:vae",
        identity="fit:identity", motion="rate:motion", cameras="face_camera:cameras",
    )  # fmt: skip
    g.add(
        "scene", "StereoTalkerRenderVideo", model="renderer:model", vae="renderer:vae", identity="fit:identity",
        motion="rate:motion", cameras="camera:cameras",
    )  # fmt: skip
    g.wan("Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors")
    g.other(0, "eyes", "CLIPVisionLoader", {"clip_name": "clip_vision_h.safetensors"})
    seen = {"clip_vision": "eyes:CLIP_VISION", "image": "example:image"}
    g.other(1, "seen", "CLIPVisionEncode", **seen)
    g.other(
        2, "told", "WanAnimateToVideo", TALL | {"length": 77}, positive="wanted:CONDITIONING",
        negative="unwanted:CONDITIONING", vae="wan_vae:VAE", clip_vision_output="seen:CLIP_VISION_OUTPUT",
        reference_image="example:image", face_video="face:images", pose_video="guides:skeleton",
        background_video="scene:images", character_mask="scene:mask",
    )  # fmt: skip
    g.also("wan", g.sampled("told", 3), RATE)
    g.also("control", g.stitch("control", "guides:skeleton", "scene:images"), RATE)
    return g


def refine() -> Graph:
    g = Mix(
        "## Frame by frame through an image model\nA Stable Diffusion 1.5 checkpoint redraws the person at low "
        "denoise; the mask keeps the background as it is, one seed keeps frames alike. " + ANYWHERE,
        "Needs an SD 1.5 checkpoint. `denoise` 0.2 to 0.35: more looks better in one frame and flickers from one to "
        "the next. The *control* video needs no checkpoint.",
    )
    g.everything()
    g.camera(yaw=20.0, size=512)
    g.render()
    g.other(0, "checkpoint", "CheckpointLoaderSimple", {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"})
    g.other(1, "wanted", "CLIPTextEncode", {"text": WANTED}, clip="checkpoint:CLIP")
    g.other(1, "unwanted", "CLIPTextEncode", {"text": UNWANTED}, clip="checkpoint:CLIP")
    g.other(1, "encode", "VAEEncode", pixels="render:images", vae="checkpoint:VAE")
    g.other(2, "person", "SetLatentNoiseMask", samples="encode:LATENT", mask="render:mask")
    settings = {"steps": 20, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple"} | {"denoise": 0.3, "seed": 1}
    g.other(
        3, "sampler", "KSampler", settings, model="checkpoint:MODEL", positive="wanted:CONDITIONING",
        negative="unwanted:CONDITIONING", latent_image="person:LATENT",
    )  # fmt: skip
    g.other(4, "decode", "VAEDecode", samples="sampler:LATENT", vae="checkpoint:VAE")
    whole = {"destination": "render:images", "source": "decode:IMAGE", "mask": "render:mask"}
    g.other(5, "composite", "ImageCompositeMasked", {"resize_source": True}, **whole)
    g.also("refined", "composite:IMAGE", fps="render:fps")
    g.also("control", "render:images", fps="render:fps")
    return g


MIX = {
    "stereotalker_15_wan_vace": wan_vace,
    "stereotalker_16_wan_animate": wan_animate,
    "stereotalker_17_refine": refine,
}
