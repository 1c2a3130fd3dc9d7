"""The measurement of one photograph: fitted as in the pipeline, drawn a dozen times, and detected again.

The judge is the perception package, the same networks that serve the fit. Frames are stored as PNG files so that
another judge can look at the very same pictures."""

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...audio.load import load_audio
from ...image import load_portrait, save_image
from ...motion.generation.sampling import MotionOptions, sample_motion
from ...perception.faces import find_faces
from ...perception.networks import Perception, load_perception
from ...perception.people import Person, people
from ...perception.squares import Pyramid
from ...pipeline import Models, View, prepare
from ...records import Identity, Motion
from ...shapes import size_of
from .backdrop import key_of
from .clothes import below_edge_detail, photographed_detail
from .frames import OPEN, OWN, SHUT, SIDES, TURNED, Frame, draw_own, draw_shot, framed, framed_points, shots
from .hair import colours_within, hair_pixels
from .hands import find_all_hands, hand_colour, hand_errors, hand_tone, posed_hands
from .identity import cosine, embedding, load_embedder
from .metrics import (
    eye_opening,
    face_detail,
    intersection_over_union,
    iris_contrast,
    landmark_error,
    lip_opening,
    self_likeness,
)

Row = dict[str, Any]
_WITHIN, _CLOSELY = 0.2, 0.1  # of the photograph's eye opening
_FACE = 0.5  # the mesh network's own score from which a frame shows a face
_ARMS = ("body.left_elbow", "body.right_elbow", "body.left_wrist", "body.right_wrist")
_FEW = (SHUT, OPEN, "yaw-30", "yaw-20", "yaw+30")  # frames of a head-and-shoulder crop that are searched for hands
_GHOST = 2  # hands that a person has


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement.

    size: px of a side of the drawn frames; speech: file of the recording that is spoken; quick: fewer frames.
    out: folder for pictures and rows; None stores nothing."""

    size: int
    speech: str
    quick: bool = False
    out: str | None = None


@dataclass(frozen=True)
class Studio:
    """The tools that measure every photograph.

    models: draw it; judge: perception networks that look at the results; embedder: dlib's face network, None where it
    is not installed; motion: what everybody performs."""

    models: Models
    judge: Perception
    embedder: Any | None
    motion: Motion


@lru_cache(maxsize=1)
def studio(speech: str) -> Studio:
    """Load the tools, once per process; the motion is sampled without blinks, so that open eyes can be compared."""
    models = Models.load_nano()
    motion = sample_motion(models.motion, load_audio(speech), options=MotionOptions(blink_rate=0.0))
    return Studio(models, load_perception(), load_embedder(), motion)


@torch.inference_mode()
def measure(path: str | Path, settings: Settings) -> Row:
    """Measure one photograph -> its row {figure: value}.

    "file": its name; "refused": the reason where the loader or the fit rejects it, and nothing else, else None;
    "fit_seconds", "perception_seconds": processor time; "quality": of the fit; "half_body": whether arms are in view;
    "below_edge_detail", "below_edge_calm": from `below_edge_detail`; "below_edge_photo": from `photographed_detail`;
    the others from `measure_frames`."""
    tools, path = studio(settings.speech), Path(path)
    row: Row = {"file": path.name, "refused": None}
    try:
        portrait = load_portrait(path)
        started = time.process_time()
        view = View(framing="portrait", size=settings.size)
        scene = prepare(tools.models, portrait.image, None, view, mask=portrait.mask, motion=tools.motion)
    except ValueError as refusal:
        return row | {"refused": str(refusal)}
    row["fit_seconds"] = time.process_time() - started
    row["quality"] = float(scene.identity.quality)
    started = time.process_time()
    everybody = people(portrait.image, tools.judge)
    row["perception_seconds"] = time.process_time() - started
    person = everybody[0] if everybody else None
    row["half_body"] = person is not None and shows_arms(person)
    frames = draw_all(tools, scene.identity, row["half_body"], settings)
    detail, calm = below_edge_detail(tools.models, scene.identity, tools.motion[:1], settings.size)
    row |= {} if math.isnan(detail) else {"below_edge_detail": detail, "below_edge_calm": calm}
    real = photographed_detail(tools.models.body, scene.identity, settings.size) if row["half_body"] else math.nan
    row |= {} if math.isnan(real) else {"below_edge_photo": real}
    row |= measure_frames(tools, portrait.image, person, scene.identity, frames)
    if settings.out:
        folder = Path(settings.out) / "frames" / path.name
        save_image(framed(portrait.image, settings.size)[0], folder / "photo.png")
        for name, frame in frames.items():
            save_image(frame.picture, folder / f"{name}.png")
    return row


def draw_all(tools: Studio, identity: Identity, half_body: bool, settings: Settings) -> dict[str, Frame]:
    """Draw all frames of a photograph -> {name: frame}, the photograph's own view first, then those of `frames.shots`.

    tools: draw them; identity: the fit; half_body: whether arms are in view, so that gestures are drawn; settings:
    size."""
    frames = {OWN: draw_own(tools.models, identity, settings.size)}
    for name, shot in shots(tools.motion, half_body, settings.quick).items():
        frames[name] = draw_shot(tools.models, identity, tools.motion, shot, settings.size)
    return frames


def measure_frames(
    tools: Studio,
    image: Tensor,
    person: Person | None,
    identity: Identity,
    frames: dict[str, Frame],
) -> Row:
    """Measure a photograph and its drawn frames -> {figure: value} of its row; figures that are NaN are left out.

    tools: models and judges (`Studio`).
    image: the photograph (3, H, W).
    person: detected in it by the judge, if any.
    identity: the fit.
    frames: drawn, by name.

    Figures of `_likeness`, `_hair_row`, `_face_row`, `_identity_row` and `_hand_row`; for head-and-shoulder pictures
    "keyed" (1 where `key_of` finds a backdrop) and "matte_iou" with that key; {"unjudged": True} without a face."""
    size = frames[OWN].cameras.size[0]
    row = _likeness(image, identity, frames[OWN], size) | _hair_row(tools, image, identity, frames)
    if person is None or person.mesh is None:
        return row | {"unjudged": True}
    mesh = framed_points(person.mesh, size_of(image), size)
    seen = [name for name in frames if name == SHUT or name.startswith("yaw")]
    found = {name: _face_near(tools.judge, frames[name].picture, mesh) for name in seen}
    row |= _face_row(image, person.mesh, frames[SHUT].picture, found[SHUT])
    row |= _identity_row(tools.embedder, image, person.mesh, frames, found)
    half_body = shows_arms(person)
    row |= _hand_row(tools, image, person.mesh, identity, frames, found, half_body)
    if not half_body:
        key = key_of(image, person.mask)
        row["keyed"] = float(key is not None)
        if key is not None:
            mask = torch.nn.functional.interpolate(identity.mask[None], key.shape[1:], mode="area")[0]
            row["matte_iou"] = intersection_over_union(mask, key)
    return {name: value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))}


def shows_arms(person: Person) -> bool:
    """Tell whether the arms of a detected person are in view."""
    return any(name in person.keypoints.names for name in _ARMS)


def _face_near(judge: Perception, picture: Tensor, expected: Tensor) -> Tensor | None:
    """Return the mesh (478, 3) of the face in a frame that is nearest to the expected one; None where no face is found.
    """
    faces = find_faces(judge, Pyramid((picture / 2 + 0.5).clamp(0, 1)))
    middle = expected.mean(0)
    meshes = [face.mesh for face in faces if face.presence >= _FACE]
    return min(meshes, key=lambda mesh: float((mesh[:, :2].mean(0) - middle).norm()), default=None)


def _likeness(image: Tensor, identity: Identity, own: Frame, size: int) -> Row:
    """Return {"self_psnr": dB, "self_ssim"}: how well the photograph's own view is reproduced inside the matte.

    image: the photograph; identity: its fit; own: the frame drawn from its camera; size: px of a side of that frame."""
    photograph, shown = framed(image, size)
    matte = framed(identity.mask, size)[0] * shown
    psnr, ssim = self_likeness(own.picture, photograph, matte)
    return {"self_psnr": psnr, "self_ssim": ssim}


def _hair_row(tools: Studio, image: Tensor, identity: Identity, frames: dict[str, Frame]) -> Row:
    """Return {"side_hair": fraction of the unseen hair drawn in colours of the visible hair}, {} without a side view.

    tools: models and judges (`Studio`); image: the photograph (3, H, W); identity: the fit; frames: drawn, by name."""
    own, body = frames[OWN], tools.models.body
    seen, _ = hair_pixels(body, identity.literal(), own.motion, own.cameras)
    photograph, shown = framed(image, own.cameras.size[0])
    matte = framed(identity.mask, own.cameras.size[0])[0] * shown
    known = photograph[:, seen & (matte[0] > 0.95)]
    drawn = [
        frame.picture[:, hair_pixels(body, identity, frame.motion, frame.cameras)[1]]
        for frame in (frames[name] for name in SIDES if name in frames)
    ]
    return {"side_hair": colours_within(torch.cat(drawn, 1), known)} if drawn else {}


def _face_row(image: Tensor, mesh: Tensor, picture: Tensor, drawn: Tensor | None) -> Row:
    """Return {figure: value} of the face at yaw 0 with the mouth shut.

    image, mesh: the photograph (3, H, W) and its face (478, 3) px; picture, drawn: the frame and its face, None if not
    found. "face_lost": 1 without one; "landmark_error", "eye_opening", "iris_contrast", "face_detail": see `metrics`;
    "eye_within", "eye_within_10": 1 where the opening is near 1; "lips_photo", "lips_shut": `lip_opening` of both."""
    row: Row = {"face_lost": float(drawn is None), "lips_photo": lip_opening(mesh)}
    if drawn is None:
        return row
    opening = eye_opening(drawn, mesh)
    row |= {
        "landmark_error": landmark_error(drawn, mesh),
        "eye_opening": opening,
        "eye_within": math.nan if math.isnan(opening) else float(abs(opening - 1) <= _WITHIN),
        "eye_within_10": math.nan if math.isnan(opening) else float(abs(opening - 1) <= _CLOSELY),
        "iris_contrast": iris_contrast(picture, drawn, image, mesh),
        "lips_shut": lip_opening(drawn),
        "face_detail": face_detail(picture, drawn, image, mesh),
    }
    return row


def _identity_row(
    embedder: Any | None,
    image: Tensor,
    mesh: Tensor,
    frames: dict[str, Frame],
    found: dict[str, Tensor | None],
) -> Row:
    """Return {"embedding": of the photograph, "identity_YAW": cosine with frames at +YAW and -YAW degrees, averaged}.

    embedder: the network; {} where it is None.
    image: the photograph (3, H, W).
    mesh: (478, 3) px of its face.
    frames: drawn, by name.
    found: the face mesh detected in each frame, by name."""
    if embedder is None:
        return {}
    own = embedding(embedder, image, mesh)
    row: Row = {"embedding": own}
    views = {0: (SHUT,)} | {abs(yaw): (f"yaw{yaw:+d}", f"yaw{-yaw:+d}") for yaw in TURNED}
    for yaw, names in views.items():
        values = [
            cosine(own, embedding(embedder, frames[name].picture, seen))
            for name in names
            if (seen := found.get(name)) is not None
        ]
        if values:
            row[f"identity_{yaw}"] = sum(values) / len(values)
    return row


def _hand_row(
    tools: Studio,
    image: Tensor,
    mesh: Tensor,
    identity: Identity,
    frames: dict[str, Frame],
    found: dict[str, Tensor | None],
    half_body: bool,
) -> Row:
    """Return {figure: value} of the hands, in every frame of a half body, else in a few frames.

    tools: models and judges (`Studio`).
    image: the photograph (3, H, W).
    mesh: (478, 3) px of its face.
    identity: the fit.
    frames: drawn, by name.
    found: the face mesh detected in each frame, by name.
    half_body: whether arms are in view.

    "hands": {frame: number of hands found}, with "hands_seen" (mean) and "hands_most"; "hands_photo": number in the
    photograph; "ghost_frames": fraction of frames with too many hands, "ghost_hands": 1 if there is such a frame;
    "hand_found", "hands_wanted", "hand_error": from `hand_errors`; "hand_tone", "hand_tone_photo": colour difference
    (CIE76) of hands and face, as drawn and in the photograph; "hand_tone_lit", "hand_tone_lit_photo": the same with the
    hands lit as brightly as the face; "hand_tone_own": that of drawn and photographed hands."""
    looked = [name for name in frames if name in _FEW or (half_body and name not in SIDES)]
    counts, errors, wanted, own = {}, [], 0, []
    tones: dict[bool, list[float]] = {False: [], True: []}
    photographed = find_all_hands(tools.judge, image)
    known = hand_colour(image, photographed)
    for name in looked:
        frame = frames[name]
        hands = find_all_hands(tools.judge, frame.picture)
        counts[name] = len(hands)
        meant, head = posed_hands(tools.models.body, identity, identity.performed(frame.motion), frame.cameras)
        off, expected = hand_errors(hands, meant, head, frame.cameras.size)
        errors, wanted = errors + off, wanted + expected
        if (drawn := found.get(name)) is not None and hands:
            for same_light, told in tones.items():
                told.append(hand_tone(frame.picture, hands, drawn, same_light))
        shown = hand_colour(frame.picture, hands)
        if known is not None and shown is not None:
            own.append(float((known - shown).norm()))
    tone, lit = ([one for one in told if not math.isnan(one)] for told in tones.values())
    row: Row = {
        "hands": counts,
        "hands_photo": float(len(photographed)),
        "hand_tone_photo": hand_tone(image, photographed, mesh),
        "hand_tone_lit_photo": hand_tone(image, photographed, mesh, same_light=True),
        "hands_seen": sum(counts.values()) / len(counts),
        "hands_most": float(max(counts.values())),
        "ghost_frames": sum(count > _GHOST for count in counts.values()) / len(counts),
        "ghost_hands": float(max(counts.values()) > _GHOST),
    }
    row |= {"hand_found": len(errors) / wanted, "hands_wanted": wanted} if wanted else {}
    row |= {"hand_error": sum(errors) / len(errors)} if errors else {}
    if tone:
        row |= {"hand_tone": sum(tone) / len(tone), "hand_tone_lit": sum(lit) / len(lit)}
    if own or tone:  # where the photograph shows hands they are what drawn ones should look like, else the face is
        row["hand_tone_own"] = sum(own or tone) / len(own or tone)
    return row
