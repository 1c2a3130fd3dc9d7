"""Avatars -> clips: rendered people who speak sentences of a speech corpus, or move silently; everything is known."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...body.model import HalfBody
from ...body.texture.texels import Lifter
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE
from ...synthetic.data.dataset import true_frames
from ...synthetic.movement.poses import joint_heads
from ...synthetic.movement.teacher import teach
from ...synthetic.people.avatar import make_avatar
from ...synthetic.people.performance import random_motion
from ...synthetic.people.portrait import AvatarPortrait, canonical_cameras, reference_portrait, true_identity
from ...synthetic.people.render import rendered_keypoints
from ...synthetic.people.template import Template, uniform
from ...synthetic.speech.corpus import Corpus
from ...synthetic.speech.utterance import Utterance
from .clip import Clip, ClipInfo, ClipSet, KeypointTrack, regions_from_labels, write_clip, write_identity

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AvatarClips:
    """The settings of an export: people, clips of each, frames of a clip without speech, px of a side, seed.

    yaw: largest camera yaw in degrees."""

    identities: int = 4
    clips: int = 2
    frames: int = 32
    size: int = 256
    seed: int = 1
    yaw: float = 60.0  # degrees: cameras stand still, or move by up to 40 degrees, within +-yaw

    def __post_init__(self) -> None:
        for name in ("identities", "clips", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size % 8 or self.size < 32:
            raise ValueError(f"size must be a multiple of 8 from 32 on, got {self.size}")
        if not 0 <= self.yaw <= 95:
            raise ValueError(f"yaw must be 0..95 degrees, got {self.yaw}")


@torch.no_grad()
def export_avatars(
    root: str | Path,
    wanted: AvatarClips,
    speech: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    template: Template | None = None,
) -> list[Path]:
    """Write clips of avatars -> their folders; existing clips are kept.

    root: parent folder.
    wanted: settings.
    speech: a corpus folder of `synth speech`; None for silent clips.
    progress: progress(done, total).
    template: its body and atlas size are used; None makes a template of the default size."""
    corpus = Corpus(speech) if speech is not None else None
    template = template if template is not None else Template(HalfBody())
    lifter = Lifter(template.body)
    written = []
    for person in range(wanted.identities):
        seed = wanted.seed * 1_000_000 + person
        maker: _Maker | None = None
        for number in range(wanted.clips):
            name = f"avatar{seed:08d}_{number:03d}"
            folder = Path(root) / "clips" / name
            if not (folder / "clip.json").is_file():
                maker = maker or _Maker(root, wanted, seed, template, lifter)
                order = person * wanted.clips + number
                folder = write_clip(maker.clip(name, number, corpus[order % len(corpus)] if corpus else None), root)
            written.append(folder)
            if progress:
                progress(len(written), wanted.identities * wanted.clips)
    logger.info("%d clips under %s", len(ClipSet(root)), root)
    return written


class _Maker:
    """The maker of one person's clips: avatar, portrait, perfect fit."""

    def __init__(self, root: str | Path, wanted: AvatarClips, seed: int, template: Template, lifter: Lifter) -> None:
        self.body, self.wanted, self.seed = template.body, wanted, seed
        self.avatar = make_avatar(self.body, seed, template)
        self.portrait: AvatarPortrait = reference_portrait(self.body, self.avatar, seed * 11 + 1, size=2 * wanted.size)
        self.identity = true_identity(self.body, self.avatar, self.portrait, lifter)
        self.rest = self.body.rest(self.avatar.shape[None], self.avatar.shell[None])
        self.heads = joint_heads(self.body, self.rest)
        self.name = f"avatar{seed:08d}"
        write_identity(self.identity, root, self.name)

    def clip(self, name: str, number: int, spoken: Utterance | None) -> Clip:
        rng = torch.Generator().manual_seed(self.seed * 100 + number)
        motion = self._motion(rng, number, spoken)
        start = uniform(rng, -self.wanted.yaw, self.wanted.yaw)
        sweep = uniform(rng, -40, 40) if uniform(rng, 0, 1) < 0.5 else 0.0
        yaw = (start + torch.linspace(0, 1, len(motion)) * sweep).clamp(-self.wanted.yaw, self.wanted.yaw)
        cameras = canonical_cameras(self.body, self.avatar.shape, yaw, self.wanted.size)
        frames = true_frames(self, motion, cameras)
        names = tuple(self.body.keypoint_names[i] for i in rendered_keypoints(self.body))
        info = ClipInfo(name, len(motion), size=cameras.size, identity=self.name, source=f"avatar {self.seed}")
        values: dict[str, Any] = {}
        if spoken is not None:
            info = replace(info, transcript=spoken.text)
            wave = torch.nn.functional.pad(
                spoken.waveform, (0, round(len(motion) / FPS * SAMPLE_RATE) - len(spoken.waveform))
            )
            values = {"audio": Audio(wave, wave[None], SAMPLE_RATE), "words": spoken.words, "phones": spoken.phones}
        return Clip(
            info,
            frames=frames.rgb,
            motion=motion,
            cameras=cameras,
            regions=regions_from_labels(frames.region, frames.alpha),
            keypoints=KeypointTrack(names, frames.keypoints, frames.visible.float()),
            **values,
        )

    def _motion(self, rng: torch.Generator, number: int, spoken: Utterance | None) -> Motion:
        if spoken is None:
            return random_motion(self.body, self.heads, self.wanted.frames, rng)
        return teach(self.heads, spoken, self.seed + number)
