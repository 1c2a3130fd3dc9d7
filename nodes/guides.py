"""Guide nodes: maps of the moving body for our renderer, and for ControlNet or AnimateAnyone type nodes."""

from __future__ import annotations

import torch

from ..stereotalker_core.camera.gestures import HANDS, staged
from ..stereotalker_core.records import Cameras, Guides, Identity, Motion, Regions
from ..stereotalker_core.shapes import joined
from . import host
from .camera import hands_input

CATEGORY = "Stereo-Talker/guides"
_BYTES = 4 * (9 + 13) * 2  # a pixel: the maps and the pictures made of them, as chunks and joined


def check_lengths(motion: Motion, cameras: Cameras) -> None:
    """ValueError where a trajectory was built for another motion."""
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
            "optional": {"hands": hands_input()},
        }

    def render(self, identity: Identity, motion: Motion, cameras: Cameras, hands: str = HANDS[0]):
        from ..stereotalker_core.video.guides import background_plate, join_guides, render_guides
        from ..stereotalker_core.video.skeleton_drawing import draw_skeleton

        check_lengths(motion, cameras)
        host.check_memory(len(motion), cameras.size, _BYTES, "render a shorter piece or a smaller size")
        body = host.body()
        motion = staged(body, identity, motion, cameras, hands)
        rest = body.rest(identity.shape[None], identity.shell[None])
        progress, window = host.Progress(len(motion)), 16
        chunks, skeletons = [], []
        with host.interruptible():
            plate = background_plate(identity, cameras, continued=True)
            for start in range(0, len(motion), window):
                part, view = motion[start : start + window], cameras[start : start + window]
                chunks.append(render_guides(body, identity, part, view, rest, plate))
                skeletons.append(draw_skeleton(body, body.pose(rest, part.rotations, part.expression), view))
                progress(start + len(part), chunks[-1].lift[-1])
            near, far = depth_range(chunks)
            pictures = (
                host.image_out([chunk.normal for chunk in chunks]),
                host.image_out([depth_picture(chunk, near, far) for chunk in chunks]),
                host.image_out(skeletons),
                host.image_out([chunk.lift for chunk in chunks]),
            )
            return join_guides(chunks), *pictures, host.mask_out([chunk.part > 0 for chunk in chunks])


def depth_range(chunks: list[Guides]) -> tuple[float, float]:
    """Nearest and farthest depth of the person in a clip; ValueError where it is never seen."""
    far = max(float(chunk.depth.max()) for chunk in chunks)
    if far <= 0:
        raise ValueError("the person is outside the picture in every frame; check the camera's distance and framing")
    return min(float(chunk.depth.where(chunk.depth > 0, far).min()) for chunk in chunks), far


def depth_picture(guides: Guides, near: float, far: float) -> torch.Tensor:
    """(T, 3, H, W) in [-1, 1]: `near` white, `far` dark grey, background black."""
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
        progress, window, found = host.Progress(len(guides)), 16, []
        with host.interruptible():
            for start in range(0, len(guides), window):
                part = guides[start : start + window].to(device)
                found.append(network.predict(part).to("cpu").masks)
                progress(start + len(part))
            person = host.mask_out([1 - masks[:, :1] for masks in found])
            masks = joined(found)
        return (Regions(masks), person, masks[:, 1], masks[:, 2], masks[:, 3])


NODES = {"StereoTalkerRenderGuides": RenderGuides, "StereoTalkerPredictMasks": PredictMasks}
