"""The pipeline: one portrait + one recording -> frames of the person talking, seen from any yaw.

`talk` is all of it; `prepare` and `render` are its two halves, for callers that keep the motion or the identity."""

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .audio.align import Word
from .body.fitting.fit import fit_portrait
from .body.model import HalfBody
from .camera.gestures import staged
from .camera.view import View
from .motion.generation.sampling import LaterMotionModels, MotionModels, MotionOptions, sample_motion
from .options import check_limits, choice, option
from .perception.keypoints import HELP, Keypoints
from .perception.networks import Perception, load_perception
from .records import Audio, Cameras, Identity, Motion
from .video.networks.bake_network import BakeNetwork
from .video.rendering.bake import BakeOptions, bake, load_bake
from .video.rendering.face_pass import LARGEST_SCALE
from .video.rendering.nano import load_nano as load_renderer
from .video.rendering.render import render_video
from .video.rendering.renderer import MODES, RenderedChunk, Renderer

_SILENT = "give a recording or a motion"
LEAST_QUALITY = 0.25  # of a fit; below, what is rendered is not the person
Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True)
class Models:
    """The models for `talk`: the half body, and the networks that find people (perception), sample motions, draw frames
    and, once a person, what their portrait does not show (bake; None leaves it to the plain fill)."""

    body: HalfBody
    perception: Perception
    motion: MotionModels
    renderer: Renderer
    bake: BakeNetwork | None = None

    @classmethod
    def load_nano(cls, device: str | torch.device = "cpu", mode: str = "diffusion", later: bool = False) -> "Models":
        """Load the models that ship with the package. FileNotFoundError and ValueError name a missing or damaged file.

        device: where the networks run.
        mode: what the renderer can draw: "diffusion" loads it for both modes; "play" for mode "play" alone, without
            diffusers.
        later: load stage 1, and with it transformers, when it is first used; now only check that its files exist."""
        device = str(device)
        body, perception = HalfBody().to(device), load_perception(device)
        motion = LaterMotionModels(device) if later else MotionModels.load_nano(device)
        return cls(body, perception, motion, load_renderer(device, mode=mode), load_bake(device=device))

    def with_experts(self, view: float = 1.0, mask: float = 1.0) -> "Models":
        """Return the same models with other factors on the output of the view and mask experts (1 = as trained, 0 =
        off)."""
        return replace(self, renderer=self.renderer.with_strengths(view, mask))


@dataclass(frozen=True)
class Scene:
    """The input of stage 2: a person, their motion, and the cameras."""

    identity: Identity
    motion: Motion
    cameras: Cameras


@dataclass(frozen=True)
class Look:
    """The settings of stage 2: how the frames are drawn.

    steps, seed: denoising steps and seed of the noise of mode "diffusion".
    background: "portrait", an (r, g, b) in 0..1, or a picture (3, H, W) of the canvas in [-1, 1].
    predicted_mask: predict the person's mask; False takes the silhouette of the fitted body.
    face_scale: resolution factor at which the face is drawn a second time (1 = no face pass).
    mode: "play", guides (maps of the posed body) and a decoder that reads them; "diffusion", as in the paper, a
        denoiser with experts for every frame; None, the renderer's own."""

    steps: int = option(
        1, 1, 1000, "Denoising steps of mode diffusion; 1 is sharpest with the nano renderer.", widget=(1, 50)
    )
    seed: int = option(0, 0, 2**64 - 1, "Noise of the U-Net.")
    background: str | tuple[float, float, float] | Tensor = "portrait"
    predicted_mask: bool = True
    face_scale: int = option(
        1, 1, LARGEST_SCALE, "Draws the face once more at so many times the size and blends it in; 1 = no."
    )
    mode: str | None = choice(
        None,
        MODES,
        "play: guides and the small decoder, fast. diffusion: the MODEL's U-Net with its experts on every frame, as in "
        "the paper. Full-size sets always use their U-Net.",
    )

    def __post_init__(self) -> None:
        check_limits(self)


class _Heard(logging.Handler):
    """The handler that collects the warnings of one thread, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.messages = threading.get_ident(), []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and record.getMessage() not in self.messages:
            self.messages.append(record.getMessage())


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Yield a list that collects the warnings of this package and thread within a with block; they are logged as well.
    """
    heard, log = _Heard(), logging.getLogger(__package__)
    log.addHandler(heard)
    try:
        yield heard.messages
    finally:
        log.removeHandler(heard)


def fit_person(
    body: HalfBody,
    portrait: Tensor,
    keypoints: Keypoints | None = None,
    mask: Tensor | None = None,
    *,
    networks: Perception | None = None,
    person: int | None = None,
) -> Identity:
    """Fit the person in a portrait, as `fit_portrait` does, and store its warnings in the identity.

    body: the half body.
    portrait: (3, H, W) in [-1, 1].
    keypoints, mask, networks, person: as in `fit_portrait`.

    ValueError where the quality is below LEAST_QUALITY."""
    with heard_warnings() as heard:
        identity = fit_portrait(body, portrait, keypoints, mask, networks=networks, person=person)
    if not identity.quality >= LEAST_QUALITY:
        raise ValueError(
            f"the body does not fit the portrait (quality {identity.quality:.2f}, {LEAST_QUALITY:g} is needed): take a "
            f"picture of one person from the front, check the mask (white = person), or {HELP}"
        )
    return replace(identity, warnings=(*identity.warnings, *heard))


def baked(
    models: Models, identity: Identity, options: BakeOptions | None = None, progress: Progress | None = None
) -> Identity:
    """Draw what the portrait of a fitted person does not show -> the identity that keeps it.

    models: without a bake network the person stays as they are; identity: the person; options: settings; progress:
    called with (stage, done, total)."""
    if models.bake is None:
        return identity
    report = progress or (lambda stage, done, total: None)
    report("bake", 0, 1)
    identity = bake(models.bake, models.body, identity, options)
    report("bake", 1, 1)
    return identity


def _met(
    models: Models,
    portrait: Tensor | None,
    given: tuple[Keypoints | None, Tensor | None, int | None],
    unseen: BakeOptions | None,
    report: Progress,
) -> Identity:
    """Fit the person in a portrait and draw what it does not show.

    models: with the body on the CPU; portrait: (3, H, W); given: keypoints, mask and number of the person; unseen:
    settings of the bake; report: called with (stage, done, total). ValueError without a portrait."""
    if portrait is None:
        raise ValueError("give a portrait, or an identity that is fitted already")
    report("fit", 0, 1)
    identity = fit_person(models.body, portrait, *given[:2], networks=models.perception, person=given[2])
    report("fit", 1, 1)
    return baked(models, identity, unseen, report)


def prepare(
    models: Models,
    portrait: Tensor | None,
    audio: Audio | None,
    view: View | None = None,
    *,
    mask: Tensor | None = None,
    keypoints: Keypoints | None = None,
    person: int | None = None,
    motion: Motion | None = None,
    transcript: str | Sequence[Word] | None = None,
    options: MotionOptions | None = None,
    progress: Progress | None = None,
    fitted: Callable[[Identity], None] | None = None,
    identity: Identity | None = None,
    unseen: BakeOptions | None = None,
) -> Scene:
    """Run steps 1-4 of the pipeline: portrait and speech -> the scene.

    models, view: the networks and the camera.
    portrait: (3, H, W) in [-1, 1].
    audio: the speech.
    mask, keypoints, person: as in `fit_portrait`.
    motion: a ready one, which skips stage 1.
    transcript: the words, with or without times.
    options: settings of the motion.
    progress: called with (stage, done, total).
    fitted: called with the identity as soon as it is fitted.
    identity: a person who is already fitted, taken as they are; the portrait is then ignored.
    unseen: how what the portrait does not show is drawn.

    ValueError for bad input, and for a portrait that the body does not fit."""
    report = progress or (lambda stage, done, total: None)
    # 1. check the inputs
    if audio is None and motion is None:
        raise ValueError(_SILENT)
    view, options = view or View(), options or MotionOptions()
    # 2. fit the portrait once, on the CPU, where its small systems are solved in float64
    device = models.renderer.device
    body = models.body if device.type == "cpu" else copy.deepcopy(models.body).cpu()
    if identity is None:
        identity = _met(replace(models, body=body), portrait, (keypoints, mask, person), unseen, report)
    if fitted:
        fitted(identity)
    # 3. speech -> motion
    if motion is None:
        if audio is None:
            raise ValueError(_SILENT)
        motion = sample_motion(
            models.motion,
            audio.to(device),
            transcript=transcript,
            options=options,
            callback=lambda step, steps, denoised: report("motion", step + 1, steps),
        )
    # 4. one camera per frame, and the gestures that belong into it
    cameras = view.cameras(body, identity, len(motion), motion.to("cpu"))
    return Scene(identity, staged(body, identity, motion, cameras, view.hands), cameras)


def render(
    models: Models,
    scene: Scene,
    look: Look | None = None,
    progress: Progress | None = None,
    *,
    frames: tuple[int, int] | None = None,
) -> Iterator[RenderedChunk]:
    """Run step 5 of the pipeline: yield frames (t, 3, H, W) in [-1, 1] and masks (t, 1, H, W), a few at a time.

    models, scene: what to draw; look: settings; progress: progress(stage, done, total).
    frames: (first, stop), only this part of the clip, equal to those frames of the whole; None draws all."""
    look, done = look or Look(), 0
    first, stop = frames or (0, len(scene.motion))
    chunks = render_video(
        models.body,
        models.renderer,
        scene.identity.to(models.renderer.device),
        scene.motion.to(models.renderer.device),
        scene.cameras.to(models.renderer.device),
        steps=look.steps,
        seed=look.seed,
        background=look.background,
        use_predicted_mask=look.predicted_mask,
        face_scale=look.face_scale,
        frames=frames,
        mode=look.mode,
    )
    for chunk in chunks:
        done += len(chunk.frames)
        if progress:
            progress("render", done, stop - first)
        yield chunk


def talk(
    models: Models,
    portrait: Tensor | None,
    audio: Audio | None,
    view: View | None = None,
    *,
    look: Look | None = None,
    mask: Tensor | None = None,
    keypoints: Keypoints | None = None,
    person: int | None = None,
    motion: Motion | None = None,
    transcript: str | Sequence[Word] | None = None,
    options: MotionOptions | None = None,
    progress: Progress | None = None,
    fitted: Callable[[Identity], None] | None = None,
    identity: Identity | None = None,
    unseen: BakeOptions | None = None,
) -> Iterator[RenderedChunk]:
    """Make a portrait speak a recording: yield frames and masks as `render` does, ceil(seconds * fps) in total.

    look: settings of stage 2. The other arguments are those of `prepare`. ValueError for bad input before the first
    frame."""
    scene = prepare(
        models,
        portrait,
        audio,
        view,
        mask=mask,
        keypoints=keypoints,
        person=person,
        motion=motion,
        transcript=transcript,
        options=options,
        progress=progress,
        fitted=fitted,
        identity=identity,
        unseen=unseen,
    )
    return render(models, scene, look, progress)
