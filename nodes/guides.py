"""Guide nodes: maps of the moving body for our renderer, and for ControlNet or AnimateAnyone type nodes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..stereotalker_core.camera.gestures import HANDS, staged
from ..stereotalker_core.camera.view import View
from ..stereotalker_core.records import Cameras, Guides, Identity, Motion, Regions
from ..stereotalker_core.shapes import REGIONS
from . import host
from .options import combo

CATEGORY = "Stereo-Talker/guides"
_BYTES = 4 * (9 + 13)  # a pixel and frame: the maps and the pictures made of them
_TOGETHER = 8  # frames


def check_lengths(motion: Motion, cameras: Cameras) -> None:
    """Raise ValueError where motion and cameras differ in length."""
    if len(motion) != len(cameras):
        raise ValueError(
            f"the motion has {len(motion)} frames but the cameras {len(cameras)}: connect the same motion to both"
        )


class RenderGuides:
    DISPLAY_NAME = "Render Guides (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Draw the moving body from the cameras: normals, depth, skeleton, lifted portrait, silhouette."
    SEARCH_ALIASES = ["openpose", "normal map", "depth map", "controlnet guides", "pose video"]
    RETURN_TYPES = ("ST_GUIDES", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "MASK")
    RETURN_NAMES = ("guides", "normal", "depth", "skeleton", "lift", "silhouette")
    OUTPUT_TOOLTIPS = (
        "All maps together, for Predict Masks.",
        "Camera-space normals: x right, y up, z towards the camera.",
        "Near = white, far = dark, as ControlNet depth.",
        "OpenPose-style drawing.",
        "The portrait's pixels carried over to the new pose and camera.",
        "The bare body and its shell (the predicted mask knows hair and clothes better).",
    )
    FUNCTION = "render"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait."}),
                "motion": ("ST_MOTION", {"tooltip": "From Sample Motion."}),
                "cameras": ("ST_CAMERAS", {"tooltip": "From Camera Trajectory."}),
            },
            "optional": {"hands": combo(View, "hands")},
        }

    def render(self, identity: Identity, motion: Motion, cameras: Cameras, hands: str = HANDS[0]):
        from ..stereotalker_core.video.guides.maps import background_plate, render_guides, skin_of
        from ..stereotalker_core.video.guides.skeleton_drawing import draw_skeleton

        check_lengths(motion, cameras)
        host.check_memory(len(motion), cameras.size, _BYTES, "render a shorter piece or a smaller size")
        body = host.body()
        motion = staged(body, identity, motion, cameras, hands)
        rest = body.rest(identity.shape[None], identity.shell[None])
        progress = host.Progress(len(motion))

        def skeleton(frames: slice) -> torch.Tensor:
            part = motion[frames]
            return draw_skeleton(body, body.pose(rest, part.rotations, part.expression), cameras[frames])

        with host.interruptible():
            guides = room_for(len(motion), cameras)
            skin = skin_of(body, identity, cameras, background_plate(identity, cameras, continued=True))
            for frames in portions(len(motion)):
                seen = render_guides(body, identity, motion[frames], cameras[frames], rest, skin)
                for name in ("normal", "part", "depth", "lift", "visibility"):
                    getattr(guides, name)[frames] = getattr(seen, name)
                progress(frames.stop, seen.lift[-1])
            near, far = depth_range(guides)
            pictures = (
                pictures_of(lambda frames: guides.normal[frames], cameras),
                pictures_of(lambda frames: depth_picture(guides[frames], near, far), cameras),
                pictures_of(skeleton, cameras),
                pictures_of(lambda frames: guides.lift[frames], cameras),
            )
            return guides, *pictures, host.mask_out([guides[few].part > 0 for few in portions(len(guides))])


def portions(count: int) -> list[slice]:
    """Divide `count` frames into slices of a few frames each, so that operations are short and need little memory."""
    return [slice(start, min(count, start + _TOGETHER)) for start in range(0, count, _TOGETHER)]


def room_for(count: int, cameras: Cameras) -> Guides:
    """Return uninitialised maps of `count` frames, to be filled in place so that they are in memory only once.

    cameras: give the size (H, W) and the yaw of the maps."""
    return Guides(*(torch.empty(count, channels, *cameras.size) for channels in (3, 1, 1, 3, 1)), yaw=cameras.yaw)


def pictures_of(draw: Callable[[slice], torch.Tensor], cameras: Cameras) -> torch.Tensor:
    """Draw a clip a few frames at a time -> IMAGE (T, H, W, 3).

    draw: draw(slice of frames) -> their pictures (t, 3, H, W) in [-1, 1].
    cameras: T of them, which give the size (H, W)."""
    images = torch.empty(len(cameras), *cameras.size, 3)
    for frames in portions(len(cameras)):
        images[frames] = host.image_out([draw(frames)])
    return images


def depth_range(guides: Guides) -> tuple[float, float]:
    """Return the smallest and largest depth (m) of the person in a clip; ValueError where the person is never visible.
    """
    parts = [guides.depth[few] for few in portions(len(guides))]
    far = max(float(depth.max()) for depth in parts)
    if far <= 0:
        raise ValueError("the person is outside the picture in every frame; check the camera's distance and framing")
    return min(float(depth.where(depth > 0, far).min()) for depth in parts), far


def depth_picture(guides: Guides, near: float, far: float) -> torch.Tensor:
    """Return depth as pictures (T, 3, H, W) in [-1, 1]: `near` white, `far` dark grey, background black."""
    grey = 1 - 0.9 * (guides.depth - near) / max(far - near, 1e-6)
    return (grey.where(guides.depth > 0, 0.0) * 2 - 1).expand(-1, 3, -1, -1)


class PredictMasks:
    DISPLAY_NAME = "Predict Masks (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = "Predict the person (hair and clothes included), body, face and hands in every frame of the video."
    SEARCH_ALIASES = ["mask predictor", "matte", "person mask", "region masks"]
    RETURN_TYPES = ("ST_REGIONS", "MASK", "MASK", "MASK", "MASK")
    RETURN_NAMES = ("regions", "person", "body", "face", "hands")
    OUTPUT_TOOLTIPS = ("All regions.", "The whole person.", "Body, hair and clothes.", "The face.", "Both hands.")
    FUNCTION = "predict"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "mask_predictor": ("ST_MASK_PREDICTOR", {"tooltip": "From Load Mask Predictor."}),
                "guides": ("ST_GUIDES", {"tooltip": "From Render Guides."}),
            }
        }

    def predict(self, mask_predictor, guides: Guides):
        (network,) = mask_predictor.modules
        device = mask_predictor.load()
        progress, masks = host.Progress(len(guides)), torch.empty(len(guides), len(REGIONS), *guides.part.shape[2:])
        with host.interruptible():
            for frames in portions(len(guides)):
                masks[frames] = network.predict(guides[frames].to(device)).to("cpu").masks
                progress(frames.stop)
            person = host.mask_out([1 - masks[frames, :1] for frames in portions(len(guides))])
        return (Regions(masks), person, masks[:, 1], masks[:, 2], masks[:, 3])


NODES = {"StereoTalkerRenderGuides": RenderGuides, "StereoTalkerPredictMasks": PredictMasks}
