"""What each part of the system changes: the same clip with one part switched off, beside the whole.

    python benchmarks/switches.py [--seconds 1.0]

Prints the mean absolute change of the motion (radians, expression) or of the frames (grey levels of 255), and checks
that experts at strength 0 equal the renderer without experts bitwise.
"""

import argparse
from dataclasses import replace

import torch

from stereotalker_core.audio.load import load_audio, make_audio
from stereotalker_core.motion.generation.sampling import sample_motion
from stereotalker_core.pipeline import Look, Models, Scene, View, render
from stereotalker_core.synthetic.example import SPEECH
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

AVATAR = 1_500_000  # a validation identity


def frames(models: Models, scene: Scene, predicted_mask: bool = True) -> torch.Tensor:
    """Return all frames (T, 3, H, W) of a scene."""
    return torch.cat([chunk.frames for chunk in render(models, scene, Look(predicted_mask=predicted_mask))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    models = Models.load_nano()
    avatar = make_avatar(models.body, AVATAR)
    identity = true_identity(models.body, avatar, reference_portrait(models.body, avatar, AVATAR))
    speech = load_audio(SPEECH).waveform[: int(options.seconds * 16000)]
    audio = make_audio(speech[None], 16000)

    motion, silent = sample_motion(models.motion, audio), sample_motion(models.motion, audio, prior_strength=0.0)
    print("| switched off | change |\n|---|---|")
    turned = (motion.rotations - silent.rotations).abs().mean()
    print(f"| LLM prior (motion) | {turned:.4f} rad, {(motion.expression - silent.expression).abs().mean():.4f} |")

    view = View(yaw=50.0, until_yaw=70.0)
    scene = Scene(identity, motion, view.cameras(models.body, identity, len(motion)))
    whole = frames(models, scene)
    others = {
        "view experts": frames(models.with_experts(view=0.0), scene),
        "mask experts": frames(models.with_experts(mask=0.0), scene),
        "mask predictor": frames(models, scene, predicted_mask=False),
    }
    for name, other in others.items():
        print(f"| {name} (frames) | {(other - whole).abs().mean() * 127.5:.3f} grey levels |")
    bare = replace(models, renderer=replace(models.renderer, view_experts=None, mask_experts=None))
    same = torch.equal(frames(models.with_experts(0.0, 0.0), scene), frames(bare, scene))
    print(f"\nexperts at strength 0 equal the renderer without experts bitwise: {same}")


if __name__ == "__main__":
    main()
