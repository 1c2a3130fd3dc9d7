"""The bake node: what the portrait does not show is invented once a person, before anything is rendered."""

from __future__ import annotations

import functools

from ..stereotalker_core.records import Identity
from . import host

CATEGORY = "Stereo-Talker/portrait"
_YAWS = (-180.0, -135.0, -90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0, 135.0)  # degrees of the preview
_SIDE = 192  # pixels of one of its views


@functools.lru_cache(maxsize=1)
def network():
    """The embedded network of the bake, read once a process, on the CPU until loaded."""
    from ..stereotalker_core.video.bake import load_bake

    return host.Managed(load_bake())


@functools.lru_cache(maxsize=1)
def rig():
    """The body's rig, one a process."""
    from ..stereotalker_core.body.rig import Rig

    return Rig(host.body())


class BakeAvatar:
    DISPLAY_NAME = "Bake Avatar (Stereo-Talker)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Invent what the portrait does not show (back, sides, hidden cloth) once a person, by a diffusion U-Net with "
        "view and mask experts; every video of this person then shows the same. What the portrait shows stays."
    )
    SEARCH_ALIASES = ["invent", "complete texture", "inpaint avatar", "back view", "360"]
    RETURN_TYPES = ("ST_IDENTITY", "IMAGE")
    RETURN_NAMES = ("identity", "preview")
    OUTPUT_TOOLTIPS = ("The person with a completed texture.", "The person from ten sides, in one picture.")
    FUNCTION = "bake"

    @classmethod
    def INPUT_TYPES(cls):
        from ..stereotalker_core.video.bake import STEPS, STRENGTH

        def expert(which: str):
            tip = f"Strength of the {which}; 0 = off."
            return ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05, "tooltip": tip})

        strength = "How much is invented; 0 = the plain fill of Fit Portrait, exactly."
        return {
            "required": {
                "identity": ("ST_IDENTITY", {"tooltip": "From Fit Portrait or Load Identity."}),
                "strength": (
                    "FLOAT",
                    {"default": STRENGTH, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": strength},
                ),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**63 - 1, "tooltip": "Another seed, other details."}),
                "steps": ("INT", {"default": STEPS, "min": 1, "max": 50, "tooltip": "Denoising steps."}),
            },
            "optional": {
                "view_experts": expert("experts for the camera's side"),
                "mask_experts": expert("experts for clothes, face, hair and hands"),
            },
        }

    def bake(
        self,
        identity: Identity,
        strength: float,
        seed: int,
        steps: int,
        view_experts: float = 1.0,
        mask_experts: float = 1.0,
    ):
        from ..stereotalker_core.video.bake import bake
        from ..stereotalker_core.video.turntable import turntable_strip

        managed = network()
        with host.interruptible():
            managed.load()
            person = bake(
                managed.modules[0],
                host.body(),
                identity,
                seed=seed,
                strength=strength,
                steps=steps,
                view_strength=view_experts,
                mask_strength=mask_experts,
                rig=rig(),
            )
            strip = turntable_strip(host.body(), person, _YAWS, size=_SIDE)
        return person, host.image_out([strip[None]])


NODES = {"StereoTalkerBakeAvatar": BakeAvatar}
