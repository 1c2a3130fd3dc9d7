"""Bake nodes: what the portrait does not show is drawn once a person, and kept in their identity."""

from __future__ import annotations

import functools
from typing import Any

from ..stereotalker_core.records import Identity
from . import host
from .options import SEED, widget
from .portrait import VIEW_SIZE, turntable

CATEGORY = "Stereo-Talker/portrait"
_TURN = (8, -180.0, 135.0)  # views of the preview, yaw of the first and the last in degrees


class LoadBakeModel:
    DISPLAY_NAME = "Load Bake Model (Stereo-Talker)"
    CATEGORY = "Stereo-Talker/load"
    DESCRIPTION = "The network of Bake Avatar, which draws what portraits do not show: nano's, or one of `train bake`."
    SEARCH_ALIASES = ["bake", "texture completion", "unseen sides", "inpaint avatar"]
    RETURN_TYPES = ("ST_BAKE_MODEL",)
    RETURN_NAMES = ("bake_model",)
    OUTPUT_TOOLTIPS = ("For Bake Avatar.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model_name": (host.model_choices(), {"tooltip": "File of `train bake`."})}}

    def load(self, model_name: str):
        from ..stereotalker_core.video.rendering.bake import EMBEDDED, load_bake

        return (host.Managed(load_bake(host.resolve_model(model_name, EMBEDDED))),)


class BakeAvatar:
    DISPLAY_NAME = "Bake Avatar (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draw once what the portrait does not show, with view and mask experts, and keep it in the identity: every "
        "recording and yaw then shows the same, and playing costs nothing more."
    )
    SEARCH_ALIASES = ["bake", "texture completion", "back of the head", "unseen sides", "inpaint avatar"]
    RETURN_TYPES = ("ST_IDENTITY", "IMAGE", "IMAGE")
    RETURN_NAMES = ("identity", "images", "strip")
    OUTPUT_TOOLTIPS = (
        "The person with the new texture; what the portrait showed is unchanged.",
        "The person from eight sides, one picture a side.",
        "All sides beside each other in one picture.",
    )
    FUNCTION = "bake"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.video.rendering.bake import BakeOptions

        model = "From Load Bake Model; without it the embedded network draws."
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait or Load Identity."}),
                "strength": widget(BakeOptions, "strength"),
                "seed": widget(BakeOptions, "seed", **SEED),
                "steps": widget(BakeOptions, "steps"),
            },
            "optional": {
                "bake_model": ("ST_BAKE_MODEL", {"tooltip": model}),
                "view_strength": widget(BakeOptions, "view_strength"),
                "mask_strength": widget(BakeOptions, "mask_strength"),
                "size": VIEW_SIZE,
            },
        }

    def bake(
        self,
        identity: Identity,
        strength: float,
        seed: int,
        steps: int,
        bake_model=None,
        view_strength: float = 1.0,
        mask_strength: float = 1.0,
        size: int = 192,
    ):
        from ..stereotalker_core.video.rendering.bake import BakeOptions, bake

        options = BakeOptions(strength, steps, seed, view_strength, mask_strength)
        with host.interruptible():
            if strength == 0:
                baked = identity.before_bake()
            else:
                used = bake_model or _embedded()
                used.load()
                network: Any = used.bundle
                baked = bake(network, host.body(), identity, options, _rig())
        images = turntable(baked, *_TURN, 0.0, size)
        return baked, images, host.strip_of(images)


@functools.lru_cache(maxsize=1)
def _embedded() -> host.Managed:
    from ..stereotalker_core.video.rendering.bake import load_bake

    return host.Managed(load_bake())


@functools.lru_cache(maxsize=1)
def _rig():
    from ..stereotalker_core.body.texture.rig import Rig

    return Rig(host.body())


NODES = {"StereoTalkerLoadBakeModel": LoadBakeModel, "StereoTalkerBakeAvatar": BakeAvatar}
