"""Draw the example people: renderings of people who do not exist, before their own rooms out of focus.

python tools/pictures/make_examples.py FOLDER     # reference images of antgroup/echomimic_v2, Apache-2.0

Writes stereotalker_core/synthetic/assets/people/NAME.webp, whose alpha is the person's mask. Each is fitted to one
reference image and drawn by this project in another pose, from another yaw and left-right reversed; the reference
images are not shipped."""

import argparse
from pathlib import Path

import torch
from kornia.filters import gaussian_blur2d
from PIL import Image

from stereotalker_core.audio.load import load_audio
from stereotalker_core.camera.gestures import staged
from stereotalker_core.image import load_portrait
from stereotalker_core.motion.generation.sampling import sample_motion
from stereotalker_core.pipeline import Look, Models, Scene, View, baked, fit_person, render
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.example import FOLDER, SPEECH
from stereotalker_core.video.guides.maps import background_plate

SIZE = 768  # px
BLUR = 9.0  # px, of the room
_REACH = 2 * round(3 * BLUR) + 1  # px of the kernel
# name: file of the reference image, camera yaw in degrees, frame of the motion that is performed
PEOPLE = {"aria": ("woman_0247", 8.0, 70), "marek": ("man_0017", 8.0, 70), "yuna": ("woman_0588", 8.0, 70)}


def draw(models: Models, speech: Motion, path: Path, yaw: float, moment: int) -> Image.Image:
    """Draw the person of a reference image with alpha, left-right reversed.

    models: what fits and draws them; speech: the motion of the example sentence; path: the image; yaw: of the camera,
        degrees; moment: frame of the motion."""
    portrait = load_portrait(path)
    person = baked(models, fit_person(models.body, portrait.image, None, portrait.mask, networks=models.perception))
    view = View(yaw=yaw, framing="portrait", size=SIZE)
    cameras = view.cameras(models.body, person, 1)
    motion = staged(models.body, person, speech[moment : moment + 1], cameras, "auto")
    room = background_plate(person, cameras, continued=True)
    room = gaussian_blur2d(room[None], (_REACH, _REACH), (BLUR, BLUR), border_type="replicate")[0]
    scene = Scene(person, motion, cameras)
    (chunk,) = render(models, scene, Look(mode="play", background=room))
    rgba = torch.cat([(chunk.frames[0].clamp(-1, 1) + 1) * 127.5, chunk.masks[0].clamp(0, 1) * 255])
    return Image.fromarray(rgba.flip(2).round().byte().permute(1, 2, 0).numpy(), "RGBA")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="default all")
    args = parser.parse_args()
    models = Models.load_nano(mode="play")
    speech = sample_motion(models.motion, load_audio(SPEECH))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.names or PEOPLE:
        file, *pose = PEOPLE[name]
        (path,) = args.folder.glob(f"{file}.*")
        target = FOLDER / f"{name}.webp"
        # `exact` keeps the room's colours where alpha is 0
        draw(models, speech, path, *pose).save(target, quality=90, method=6, exact=True, alpha_quality=90)
        print(target, target.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
