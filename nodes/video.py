"""Video nodes: all-in-one rendering, streaming into a file, conditioning for the stock KSampler, and the label."""

from __future__ import annotations

from collections.abc import Iterator

from ..stereotalker_core.camera.gestures import staged
from ..stereotalker_core.camera.view import View
from ..stereotalker_core.records import Cameras, Identity, Motion
from . import host, shares
from .guides import check_lengths
from .options import SEED, combo, widget

CATEGORY = "Stereo-Talker/video"
BACKGROUNDS = ("portrait", "grey", "green", "white", "black")
COLOURS = {"grey": (0.5, 0.5, 0.5), "green": (0.0, 0.69, 0.25), "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
LABEL = "Synthetic media"
SELDOM = ("steps", "face_scale", "mode", "hands", "first_frame", "frames")  # inputs under "advanced"
HIDDEN = {"extra_pnginfo": "EXTRA_PNGINFO"}
_BATCH_BYTES = 2 * 4 * (3 + 1)  # a pixel: float32 IMAGE and MASK, as chunks and joined
_WINDOW_BYTES = 16 * 1200  # activations of one window a pixel, measured


def check_batch(frames: int, size: tuple[int, int]) -> None:
    """Raise ValueError, before any work, where an IMAGE of `frames` pictures of size (H, W) exceeds the memory."""
    instead = "render a shorter piece or a smaller size, or use Render Video to File, which streams"
    host.check_memory(frames, size, _BATCH_BYTES, instead)


def background_of(background: str, image, size: tuple[int, int]):
    """Return the background for the core: `image` (an IMAGE) if given, else the combo's entry; size: (H, W) px."""
    if image is not None:
        return host.fit_canvas(host.image_in(image), size)
    return "portrait" if background == "portrait" else COLOURS[background]


def sampling_inputs(**more: tuple) -> dict:
    """Return {"required", "optional": {name: (type, settings)}} of both Render Video nodes; more: required ones."""
    from ..stereotalker_core.pipeline import Look

    tip = "Denoising steps of mode diffusion; 1 is sharpest with the nano renderer, full-size sets want 20 to 30."
    return {
        "required": {
            "model": ("MODEL", {"tooltip": "From Load Renderer, Load View-MoE or Load Mask-MoE."}),
            "vae": ("VAE", {"tooltip": "From Load Renderer."}),
            "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait."}),
            "motion": ("ST_MOTION", {"tooltip": "From Sample Motion."}),
            "cameras": ("ST_CAMERAS", {"tooltip": "From Camera Trajectory."}),
            "seed": widget(Look, "seed", **SEED),
            "steps": widget(Look, "steps", tip),
            "background": (BACKGROUNDS, {"tooltip": "portrait keeps the background behind the person."}),
            **more,
        },
        "optional": {
            "mask_predictor": (
                "ST_MASK_PREDICTOR",
                {"tooltip": "From Load Mask Predictor. Without it the body's own silhouette is used."},
            ),
            "background_image": ("IMAGE", {"tooltip": "Replaces the background; resized to the canvas."}),
        },
        "hidden": HIDDEN,
    }


def face_scale_input() -> tuple:
    """Return (type, settings), the widget of the face pass."""
    from ..stereotalker_core.pipeline import Look

    tip = "Draws the face once more at so many times the size and blends it in; 1 = no. For full-size sets."
    return widget(Look, "face_scale", tip)


def mode_input() -> tuple:
    """Return (choices, settings), the widget that chooses how frames are drawn; the first choice is the default."""
    from ..stereotalker_core.pipeline import Look

    return combo(Look, "mode", default="play")


def chunks_of(
    model, vae, identity: Identity, motion: Motion, cameras: Cameras, seed: int, steps: int, background,
    mask_predictor, face_scale: int, mode: str, hands: str, part: tuple[int, int] | None = None,
) -> Iterator:  # fmt: skip
    """Yield each `RenderedChunk` of a video, or of a part, as it is drawn, with progress, previews and checks.

    model, vae, identity, motion, cameras, mask_predictor (or None): sockets; background: from `background_of`; seed,
    steps: of mode diffusion; face_scale, mode: see `Look`; hands: see `View`; part: (first, stop), None for all."""
    from ..stereotalker_core.video.rendering.render import render_video

    host.networks_of(model)  # refuses another pack's MODEL
    used = [model, host.vae_of(vae), *([mask_predictor] if mask_predictor else [])]
    device = host.load_all(used, _WINDOW_BYTES * cameras.size[0] * cameras.size[1])
    body = host.body(str(device))
    motion = staged(host.body(), identity, motion, cameras, hands)
    first, stop = part or (0, len(motion))
    progress, done = host.Progress(stop - first), 0
    renderer = renderer_of(model, vae, mask_predictor, body, device)
    window, overlap = renderer.windowing(len(motion))
    renderer = renderer.reporting(lambda share: progress(done + int(share * min(window, len(motion) - done))))
    for chunk in render_video(
        body, renderer, identity.to(device), motion.to(device), cameras.to(device),
        steps=steps, seed=seed, background=background, use_predicted_mask=mask_predictor is not None,
        face_scale=face_scale, mode=mode if mode in renderer.modes else None, frames=part, window=window,
        overlap=overlap,
    ):  # fmt: skip
        host.check_finite(chunk.frames, "the renderer")
        done += len(chunk.frames)
        progress(done, chunk.frames[-1])
        yield chunk


def renderer_of(model, vae, mask_predictor, body, device):
    """Return the core's renderer for MODEL and VAE of one set (else ValueError); only mask_predictor may be None."""
    unet, reference = host.networks_of(model)
    experts = host.experts_of(model)
    view, view_strength = experts.get("view", (None, 1.0))
    mask, mask_strength = experts.get("mask", (None, 1.0))
    sampling = host.sampling_of(model)
    return vae.renderer(
        unet,
        predictor_of(mask_predictor, body, device),
        reference=reference,
        view_experts=view,
        mask_experts=mask,
        view_strength=view_strength,
        mask_strength=mask_strength,
        guidance=sampling.guidance,
        windows=sampling.windows(unet.config.motion_length),
        tile=sampling.tile_latents,
        longest=sampling.run,
    )


def predictor_of(mask_predictor, body, device):
    """Return the mask predictor of a socket; where it is None, one that returns the fitted body's silhouette."""
    from ..stereotalker_core.video.networks.mask import MaskPredictor

    return mask_predictor.modules[0] if mask_predictor else MaskPredictor.for_parts(body.part_names).to(device)


class RenderVideo:
    DISPLAY_NAME = "Render Video (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Render the person performing the motion from the cameras. One node for guides, masks, decoder; also the U-Net."
    )
    SEARCH_ALIASES = ["video sampler", "talking video", "render", "novel view"]
    RETURN_TYPES = ("IMAGE", "MASK", "FLOAT", "VIDEO")
    RETURN_NAMES = ("images", "mask", "fps", "video")
    OUTPUT_TOOLTIPS = (
        "The frames.",
        "The person in every frame.",
        "Frames per second, for Create Video.",
        "The frames with the sound, for Save Video.",
    )
    FUNCTION = "render"

    @classmethod
    def INPUT_TYPES(cls):
        inputs = sampling_inputs()
        inputs["optional"] |= {"face_scale": face_scale_input(), "mode": mode_input(), "hands": combo(View, "hands")}
        inputs["optional"]["audio"] = ("AUDIO", {"tooltip": "The speech, for the sound of the video output."})
        inputs["optional"] |= {"first_frame": shares.first_input(), "frames": shares.frames_input()}
        inputs["optional"]["alpha"] = shares.alpha_input()
        return shares.advanced(inputs, *SELDOM, "alpha")

    def render(
        self,
        model,
        vae,
        identity: Identity,
        motion: Motion,
        cameras: Cameras,
        seed: int,
        steps: int,
        background: str,
        mask_predictor=None,
        background_image=None,
        face_scale: int = 1,
        mode: str = "play",
        hands: str = "auto",
        audio: dict | None = None,
        first_frame: int = 0,
        frames: int = 0,
        alpha: bool = False,
        extra_pnginfo=None,
    ):
        from ..stereotalker_core.video.writing.provenance import provenance

        check_lengths(motion, cameras)
        part = shares.part_of(first_frame, frames, len(motion))
        check_batch(part[1] - part[0] if part else len(motion), cameras.size)
        behind = COLOURS["black"] if alpha else background_of(background, background_image, cameras.size)
        settings = (seed, steps, behind, mask_predictor, face_scale, mode, hands, part)
        drawn, masks = [], []
        with host.interruptible():
            for chunk in chunks_of(model, vae, identity, motion, cameras, *settings):
                drawn.append(chunk.frames.cpu())
                masks.append(chunk.masks.cpu())
        host.stamp(extra_pnginfo, provenance(host.model_name(model), seed))
        images = shares.with_alpha(drawn, masks) if alpha else host.image_out(drawn)
        video = host.video_out(images, shares.sound_of(audio, part, motion.fps), motion.fps)
        return images, host.mask_out(masks), motion.fps, video


class RenderToFile:
    DISPLAY_NAME = "Render Video to File (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Render straight into a video of the output folder, frame by frame: memory does not grow with the length, and "
        "a cancelled run leaves an MP4 that plays. The file says that it is synthetic media."
    )
    SEARCH_ALIASES = ["stream video", "long video", "save talking video", "mp4"]
    RETURN_TYPES = ("STRING", "INT")
    RETURN_NAMES = ("filename", "frames")
    OUTPUT_TOOLTIPS = ("The file that was written.", "Its number of frames.")
    FUNCTION = "render"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"default": "video/StereoTalker", "tooltip": "File name, with folders, inside of the output folder."}
        label = {"default": False, "tooltip": f"Write {LABEL!r} visibly into a corner of every frame."}
        inputs = sampling_inputs(filename_prefix=("STRING", prefix), label=("BOOLEAN", label))
        inputs["optional"]["audio"] = ("AUDIO", {"tooltip": "The speech, for the sound of the video."})
        inputs["optional"] |= {"face_scale": face_scale_input(), "mode": mode_input(), "hands": combo(View, "hands")}
        inputs["optional"] |= {"first_frame": shares.first_input(), "frames": shares.frames_input()}
        inputs["optional"]["file_format"] = shares.file_input()
        return shares.advanced(inputs, *SELDOM)

    def render(
        self,
        model,
        vae,
        identity: Identity,
        motion: Motion,
        cameras: Cameras,
        seed: int,
        steps: int,
        background: str,
        filename_prefix: str,
        label: bool,
        mask_predictor=None,
        background_image=None,
        audio=None,
        face_scale: int = 1,
        mode: str = "play",
        hands: str = "auto",
        first_frame: int = 0,
        frames: int = 0,
        file_format: str = "mp4",
        extra_pnginfo=None,
    ):
        from ..stereotalker_core.video.rendering.composite import straight
        from ..stereotalker_core.video.writing.background_writer import BackgroundWriter
        from ..stereotalker_core.video.writing.provenance import container_tags, draw_label
        from ..stereotalker_core.video.writing.writer import VideoWriter
        from .speech import audio_in

        check_lengths(motion, cameras)
        part, clear = shares.part_of(first_frame, frames, len(motion)), shares.FILES[file_format] != ".mp4"
        if clear and label:
            raise ValueError("a label needs a picture behind it: switch label off, or choose file_format mp4")
        behind = COLOURS["black"] if clear else background_of(background, background_image, cameras.size)
        path, entry = host.save_path(filename_prefix, shares.FILES[file_format])
        tags, size = container_tags(host.model_name(model), seed), cameras.size
        heard = audio if clear else shares.sound_of(audio, part, motion.fps)
        sound = None if heard is None else audio_in(heard)
        if clear:
            whole = (0, len(motion))
            file = shares.transparent_file(path, size, motion.fps, part or whole, len(motion), sound, tags)
        else:
            file = BackgroundWriter(VideoWriter(path, size, motion.fps, sound, tags))
        settings = (seed, steps, behind, mask_predictor, face_scale, mode, hands, part)
        with host.interruptible(), file as writer:
            for chunk in chunks_of(model, vae, identity, motion, cameras, *settings):
                if clear:
                    writer.write(*straight(chunk.frames.cpu(), chunk.masks.cpu()))
                else:
                    writer.write(draw_label(chunk.frames.cpu(), LABEL) if label else chunk.frames)
        return {"ui": {"images": [entry], "animated": (True,)}, "result": (str(path), writer.frames)}


class Conditioning:
    DISPLAY_NAME = "Stereo-Talker Conditioning"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Everything the renderer is told about a video, for the stock KSampler (euler, simple; cfg 1, full-size sets "
        "3.5) and VAE Decode. Any length: windows are handled inside. Connect this node's vae to VAE Decode."
    )
    SEARCH_ALIASES = ["ksampler", "conditioning", "latent video", "pose conditioning"]
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT", "VAE", "MASK", "FLOAT")
    RETURN_NAMES = ("positive", "negative", "latent", "vae", "mask", "fps")
    OUTPUT_TOOLTIPS = (
        "Guides, masks, cameras and portrait.",
        "The same without the portrait; used only with a cfg other than 1, which the nano renderer is not trained for.",
        "One latent a frame: the encoded lift, used with denoise below 1. With nano all frames share one noise.",
        "For VAE Decode: it knows the guides, masks and background of this video.",
        "The person in every frame.",
        "Frames per second, for Create Video.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        frozen = "Adds a noise mask: only the person is denoised, the background latents stay those of the lift."
        shared = sampling_inputs()
        kept = {name: shared["required"][name] for name in ("vae", "identity", "motion", "cameras", "background")}
        kept["freeze_background"] = ("BOOLEAN", {"default": False, "tooltip": frozen})
        optional = shared["optional"] | {"hands": combo(View, "hands")}
        return {"required": kept, "optional": optional, "hidden": HIDDEN}

    def encode(
        self,
        vae,
        identity: Identity,
        motion: Motion,
        cameras: Cameras,
        background: str,
        freeze_background: bool,
        mask_predictor=None,
        background_image=None,
        hands: str = "auto",
        extra_pnginfo=None,
    ):
        import torch

        from ..stereotalker_core.video.rendering.clip import clip_bytes, prepare_clip
        from ..stereotalker_core.video.rendering.composite import resolve_background
        from ..stereotalker_core.video.writing.provenance import provenance

        check_lengths(motion, cameras)
        pixels = cameras.size[0] * cameras.size[1]
        instead = "render a shorter piece or a smaller size, or use Render Video, which works in windows"
        host.check_memory(len(motion), cameras.size, clip_bytes(cameras.size) / pixels + _BATCH_BYTES, instead)
        used = [host.vae_of(vae), *([mask_predictor] if mask_predictor else [])]
        device = host.load_all(used, _WINDOW_BYTES * pixels)
        plate = resolve_background(background_of(background, background_image, cameras.size), identity, cameras)
        motion = staged(host.body(), identity, motion, cameras, hands)
        progress = host.Progress(len(motion))
        with host.interruptible():
            body = host.body(str(device))
            renderer = vae.renderer(mask_predictor=predictor_of(mask_predictor, body, device))
            clip = prepare_clip(
                body, renderer, identity.to(device), motion.to(device), cameras.to(device), progress,
                predicted=mask_predictor is not None,
            )  # fmt: skip
        tokens = torch.zeros(1, 1, 1)  # the model computes its own from the portrait
        positive = [[tokens, {"stereotalker_clip": clip, "stereotalker_portrait": True}]]
        negative = [[tokens, {"stereotalker_clip": clip, "stereotalker_portrait": False}]]
        latent = {"samples": clip.lift / renderer.latent_scale}
        if renderer.one_noise:
            latent["batch_index"] = [0] * len(clip)  # one noise for the whole clip
        mask = host.mask_out([clip.person])
        if freeze_background:
            latent["noise_mask"] = mask
        host.stamp(extra_pnginfo, provenance("sampled by KSampler", 0) | {"seed": "see the KSampler of the workflow"})
        own = background_image is None and background == "portrait"
        return positive, negative, latent, vae.bound(clip, plate, own), mask, motion.fps


class Label:
    DISPLAY_NAME = "Synthetic Media Label (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "A visible label in every picture; the metadata of saved files says synthetic media, too."
    SEARCH_ALIASES = ["watermark", "disclosure", "synthetic media", "content credentials"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("The labelled pictures.",)
    FUNCTION = "label"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.video.writing.provenance import CORNERS

        opacity = {"default": 0.8, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "0 draws nothing."}
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "Pictures or frames."}),
                "text": ("STRING", {"default": LABEL, "tooltip": "The label."}),
                "position": (CORNERS, {"tooltip": "The corner it stands in."}),
                "opacity": ("FLOAT", opacity),
            },
            "hidden": HIDDEN,
        }

    def label(self, images, text: str, position: str, opacity: float, extra_pnginfo=None):
        from ..stereotalker_core.video.writing.provenance import NOTICE, SOURCE_TYPE, draw_label

        host.stamp(extra_pnginfo, {"notice": NOTICE, "digital_source_type": SOURCE_TYPE})
        frames = images[..., :3].movedim(-1, 1).float() * 2 - 1
        return (host.image_out([draw_label(frames, text, position, opacity)]),)


NODES = {
    "StereoTalkerConditioning": Conditioning,
    "StereoTalkerRenderVideo": RenderVideo,
    "StereoTalkerRenderToFile": RenderToFile,
    "StereoTalkerLabel": Label,
}
