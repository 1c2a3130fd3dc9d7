"""Portrait node: fit the body to the picture once; every camera and every speech reuses it."""

from __future__ import annotations

from ..stereotalker_core.records import Identity
from . import host


class FitPortrait:
    DISPLAY_NAME = "Fit Portrait (Stereo-Talker)"
    CATEGORY = "Stereo-Talker/portrait"
    DESCRIPTION = "Find the person's shape, clothes, hair volume, pose and texture in the portrait (a few seconds)."
    SEARCH_ALIASES = ["portrait", "identity", "reference image", "avatar", "character"]
    RETURN_TYPES = ("ST_IDENTITY", "MASK", "FLOAT")
    RETURN_NAMES = ("identity", "mask", "quality")
    OUTPUT_TOOLTIPS = (
        "The fitted person.",
        "The person in the portrait.",
        "0..1: how well the body fits the picture. Below 0.5 give keypoints or a mask.",
    )
    FUNCTION = "fit"

    @classmethod
    def INPUT_TYPES(cls):
        keypoints = "Optional POSE_KEYPOINT of a DWPose / OpenPose node; otherwise an embedded detector is used."
        mask = "Optional mask of the person (1 = person), for example from a background remover."
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One person from the front, half body, both shoulders visible."})
            },
            "optional": {
                "pose_keypoint": ("POSE_KEYPOINT", {"tooltip": keypoints}),
                "mask": ("MASK", {"tooltip": mask}),
            },
        }

    def fit(self, image, pose_keypoint=None, mask=None) -> tuple[Identity, object, float]:
        from ..stereotalker_core.body.fit import fit_portrait
        from ..stereotalker_core.body.keypoints import from_openpose

        host.check_interrupted()
        portrait = host.image_in(image)
        rows, columns = portrait.shape[-2:]
        points = None if pose_keypoint is None else from_openpose(pose_keypoint, columns, rows)
        identity = fit_portrait(host.body(), portrait, points, host.mask_in(mask, (rows, columns)))
        return identity, host.mask_out([identity.mask[None]]), float(identity.quality)


NODES = {"StereoTalkerFitPortrait": FitPortrait}
