"""Train denoiser, experts and guided decoder together, on the pixels of the frames.

    python -m stereotalker_core train joint --vae vae.safetensors --unet folder --run R --steps N --out folder

The denoiser sees whole frames, the decoder a random crop of each: errors of colour and edges reach both. Experts learn
beside the base from the first step; each kind is left out of a step with probability DROP, so that the base stays a
renderer of its own. Encoder, plain decoder, latent statistics and motion modules stay as they are. --large adds frames
of 384 or 512 px, of which windows of LARGE are seen: what a larger canvas and the face pass look like. --without trains
the renderer of an ablation: the same steps and frames, one part never there.
"""

import argparse
import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import checkpoint
from ...precision import channels_last_weights, mixed_precision
from ...synthetic.data.avatar_frames import AvatarData, Rows, crop_rows, pooled, without_lift
from ...video.guides.layout import GuideLayout
from ...video.networks.experts import Experts, MaskExperts, ViewExperts
from ...video.networks.mask import MaskPredictor
from ...video.networks.vae import TinyAutoencoder, binomial_blur
from ..loop import Batch, Schedule, fit, generator
from ..provenance import made
from .autoencoder import set_ranges
from .decoder import edge_error
from .denoising import LossOptions, denoising_step, encode, weighted_error
from .frames import counted, frame_arguments, open_frames
from .mask import region_targets
from .stage_two import StageTwo, is_motion, load_stage_two, save_stage_two

DROP = 0.05
PURE_NOISE = 0.7  # share of samples at sigma = 1: the nano profile renders in one step
LATENT = 0.1  # weight of the latents' squared error beside the pixels'
RELATIVE = 0.06  # weight of the logarithm of the person's squared error: frames that are nearly right count as well
DETAIL = 0.05  # weight of the logarithm of the person's fine energy over the truth's, where the fit is the true one
PERTURBED = 0.8  # weight of frames whose guides come from a wrong fit: their detail cannot be placed
CROP = 128
LARGE, LARGE_SHARE = 256, 0.4  # window of frames from a larger canvas, and the share of the steps that see them
SIDE = 60  # degrees from which the view experts should matter
EXPERTS = {"side": 3.0, "skin": 4.0}  # what experts that learn alone see more of
PARTS = ("view", "mask", "predictor", "lift", "reference")  # what an ablation can be trained without
FILES = {ViewExperts: "view_experts", MaskExperts: "mask_experts"}
DECIBELS = 4.3429  # of a natural logarithm of squared errors
FLOOR = 2e-4  # squared error (of images in [-1, 1]) far below which a frame counts as right


class Joint(nn.Module):
    """The denoiser with its experts and the autoencoder in one module, to be trained together; its encoder is fixed."""

    def __init__(self, denoiser: StageTwo, vae: TinyAutoencoder) -> None:
        super().__init__()
        self.denoiser, self.vae = denoiser, vae


class JointBatches:
    """The source of training batches: called with a step, it returns a dictionary: whole frames, and one crop of each.

    N = identities * frames. "clean", "lift": latents (N, C, h, w); "portrait": (identities, C, h, w).
    "guide": (N, G, H/4, W/4); "yaw": (N,) degrees; "regions": (N, 4, h, w); "latent_weight": (N, 1, h, w) of errors.
    "corner": (N, 2), top and left of the crops in px; "exact": (N,), 1 where the fit is the true one.
    "rgb": (N, 3, size, size), "weight" of errors and "person" (N, 1, size, size): the crops.

    side: how often frames with |yaw| >= SIDE are drawn, relative to others; skin: added weight of face and hands.
    without: parts (of PARTS) that an ablation is trained without.
    predictor: predicts the regions, as for a video; None: the true ones.
    large: frames of a larger canvas, used in a fraction LARGE_SHARE of the steps and cropped to LARGE px."""

    def __init__(
        self, data: AvatarData, vae: TinyAutoencoder, identities: int, frames: int, seed: int = 0, size: int = CROP,
        side: float = 1.0, skin: float = 1.5, without: tuple[str, ...] = (),
        predictor: MaskPredictor | None = None, large: AvatarData | None = None,
    ) -> None:  # fmt: skip
        self.data, self.vae = data, channels_last_weights(vae.eval().requires_grad_(False))
        self.identities, self.frames, self.seed, self.size = identities, frames, seed, size
        self.side, self.large = side, large
        self.skin, self.lifted = skin, "lift" not in without
        self.bare = MaskPredictor.for_parts(data.part_names) if "predictor" in without else None
        self.predictor = predictor

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        # another generator: without larger frames the steps stay those of earlier runs
        large = self.large if generator(self.seed + 1, step).random() < LARGE_SHARE else None
        data = self.data if large is None else large
        likely = None if self.side == 1 else np.where(np.abs(data.yaw) >= SIDE, self.side, 1.0)
        index = data.draw(rng, self.identities, self.frames, likely=likely)
        flip = rng.random(self.identities) < 0.5
        rows = data.rows(index, flip.repeat(self.frames))
        portrait = data.portrait(data.identity[index[:: self.frames]], flip)
        if large is not None:
            rows = crop_rows(rows, LARGE, rng)
        count, (height, width) = len(index), rows.rgb.shape[-2:]
        size = min(self.size, height, width)
        top = torch.from_numpy(rng.integers(0, (height - size) // 8 + 1, count)) * 8
        left = torch.from_numpy(rng.integers(0, (width - size) // 8 + 1, count)) * 8
        corner = torch.stack([top, left], 1)
        exact = 1 - torch.from_numpy(data.perturbed[index]).float()
        trust = PERTURBED + (1 - PERTURBED) * exact.view(-1, 1, 1, 1)
        weight = rows.weight(face=self.skin, hands=self.skin, background=0.3) * trust
        if not self.lifted:
            rows = replace(rows, guides=without_lift(rows.guides))
        clean, lift = encode(self.vae, torch.cat([rows.rgb, rows.guides.lift])).chunk(2)
        guide = rows.guide(self.data.n_parts)
        return {
            "clean": clean,
            "lift": lift,
            "guide": guide.contiguous(memory_format=torch.channels_last),
            "yaw": rows.guides.yaw,
            "regions": pooled(self._regions(rows, guide), 8),
            "portrait": encode(self.vae, portrait),
            "latent_weight": pooled(weight, 8),
            "corner": corner,
            "exact": exact,
            "rgb": cut(rows.rgb, corner, size),
            "weight": cut(weight, corner, size),
            "person": cut((rows.alpha > 0.5).float(), corner, size),
        }

    def _regions(self, rows: Rows, guide: Tensor) -> Tensor:
        """Return the soft regions (N, 4, H, W) that the mask experts are steered by.

        They are those of the body without hair and clothes where an ablation lacks the predictor, else predicted ones,
        or the true ones where there is no predictor.
        rows: the frames; guide: their guide tensor."""
        if self.bare is not None:
            return self.bare.silhouette(rows.guides.part)
        if self.predictor is None:
            return region_targets(rows)
        with mixed_precision(guide.device):
            return self.predictor.predict(rows.guides, guide).masks.float()


def cut(x: Tensor, corner: Tensor, size: int) -> Tensor:
    """Crop (N, C, H, W) -> (N, C, size, size), each row at its own corner (top, left), (N, 2)."""
    return torch.stack([v[:, y : y + size, z : z + size] for v, (y, z) in zip(x, corner.tolist(), strict=True)])


def log_error(error: Tensor, inside: Tensor) -> Tensor:
    """Return the logarithm (N,) of the mean squared error of each picture inside a mask.

    error: (N, 3, H, W); inside: (N, 1, H, W) mask."""
    area = inside.sum((1, 2, 3)).clamp_min(1)
    return ((error.square().mean(1, keepdim=True) * inside).sum((1, 2, 3)) / area + FLOOR).log()


def joint_loss(model: Joint, batch: Batch, pure: float = PURE_NOISE) -> tuple[Tensor, dict[str, float]]:
    """Return the loss () of a batch of `JointBatches`, and its terms and gains in dB, {name: number}.

    It is the sum of the errors of the crops' pixels (L1, squared error, its logarithm, edges, fine energy) and of the
    whole frames' latents; experts are left out at random. pure: fraction of samples that are pure noise."""
    corner, rgb, weight = (batch[k] for k in ("corner", "rgb", "weight"))
    options = LossOptions(pure=pure, expert_drop=DROP, skip_left_out=True, never_bare=False)
    step = denoising_step(model.denoiser, batch, options)
    latent, parts = weighted_error(step, batch["latent_weight"], "residual", options)
    side = rgb.shape[-1] // 8
    guide = cut(batch["guide"], corner // 4, 2 * side).contiguous(memory_format=torch.channels_last)
    out = model.vae.decode(cut(step.found, corner // 8, side), guide)
    error = out - rgb
    pixel = (error.abs() * weight).mean() + 8 * (error.square() * weight).mean() + 0.25 * edge_error(error, weight)
    relative = log_error(error, batch["person"])
    detail = (batch["exact"] * fine_ratio(out, rgb, batch["person"]).abs()).mean()
    with torch.no_grad():
        before = log_error(GuideLayout().map_of(guide, "lift") - rgb, batch["person"])
    gain = DECIBELS * (before - relative.detach())
    parts |= {"detail": float(detail.detach()), "gain_db": float(gain.mean())}
    for name, kind in (("exact_db", batch["exact"] > 0), ("wrong_db", batch["exact"] == 0)):
        parts[name] = float(gain[kind].mean()) if kind.any() else 0.0
    return pixel + RELATIVE * relative.mean() + DETAIL * detail + LATENT * latent, parts


def fine_ratio(image: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """Compare the fine detail of images with that of the true ones -> (N,) logarithm of the ratio of energies, 0 =
    equal.

    image, truth: (N, 3, H, W) in [-1, 1]; inside: (N, 1, H, W), where they are compared. Fine detail is what a binomial
        blur removes."""
    fine = [(x - binomial_blur(x)).square().mean(1, keepdim=True) for x in (image, truth)]
    ours, theirs = ((x * inside).sum((1, 2, 3)) for x in fine)
    floor = 1e-4 * inside.sum((1, 2, 3)) + 1e-3
    return ((ours + floor) / (theirs + floor)).log()


def is_trained(name: str) -> bool:
    """Tell whether this training changes a parameter of a Joint."""
    return name.startswith("vae.guided.") or (name.startswith("denoiser.") and not is_motion(name))


def is_expert(name: str) -> bool:
    """Tell whether a parameter of a Joint belongs to the experts."""
    return name.startswith("denoiser.experts.")


def train_joint(
    base: StageTwo, vae: TinyAutoencoder, data: AvatarData, run: str | Path, steps: int, seed: int = 0,
    identities: int = 6, frames: int = 2, lr: float = 1e-3, decay: float = 0.6,
    experts: tuple[Experts, ...] | None = None, only_experts: bool = False, without: tuple[str, ...] = (),
    pure: float = PURE_NOISE, predictor: MaskPredictor | None = None, large: AvatarData | None = None,
    side: float = 1.0,
) -> Joint:  # fmt: skip
    """Train denoiser, experts and guided decoder together, starting from given ones.

    base: denoiser and reference network; vae: the autoencoder; data: the rendered frames.
    run: folder of the training state.
    steps, seed, lr, decay: as in `loop.Schedule`; identities, frames: people per step, and frames of each.
    experts: those to continue from, None makes new ones; only_experts: train nothing else.
    without: parts (of PARTS) that an ablation is trained without.
    pure: fraction of samples that are pure noise.
    predictor: predicts the regions; None takes the true ones.
    large: frames of a larger canvas, or None.
    side: how often frames from the side are drawn, relative to others."""
    if unknown := set(without) - set(PARTS):
        raise ValueError(f"cannot train without {sorted(unknown)}; choose from {PARTS}")
    torch.manual_seed(seed)
    pair = experts if experts is not None else (ViewExperts.for_unet(base.unet), MaskExperts.for_unet(base.unet))
    left = {ViewExperts: "view", MaskExperts: "mask"}
    pair = tuple(module for module in pair if left[type(module)] not in without)
    model = Joint(StageTwo(base.unet, base.reference, pair, "reference" not in without), vae)
    model = channels_last_weights(model)
    more: dict[str, Any] = dict(EXPERTS) if only_experts else {"side": side}
    more |= {"without": without, "predictor": predictor, "large": large}
    batches = JointBatches(data, copy.deepcopy(vae), identities, frames, seed=seed, **more)
    schedule = Schedule(steps, lr=lr, warmup=40, decay=decay, weight_decay=1e-3, ema=0.995, seed=seed, save_every=100)
    trainable = is_expert if only_experts else is_trained
    loss = partial(joint_loss, pure=pure)
    fit(model, batches, loss, schedule, run, trainable=trainable, freeze=False)
    set_ranges(model.vae, data)
    return model


def save_joint(model: Joint, folder: str | Path, **info: Any) -> None:
    """Write the files unet, reference, vae, view_experts and mask_experts into a folder.

    A kind of experts that the model lacks is written as new experts, which change nothing. info: provenance for the
    metadata."""
    save_stage_two(model.denoiser, folder, **info)
    checkpoint.save(model.vae, Path(folder) / "vae.safetensors", **info)
    there = {type(module): module for module in model.denoiser.experts}
    for kind, name in FILES.items():
        module = there.get(kind) or kind.for_unet(model.denoiser.unet)
        checkpoint.save(module, Path(folder) / f"{name}.safetensors", **info)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train joint`."""
    frame_arguments(parser, steps=1500, out="the folder to write")
    parser.add_argument("--vae", required=True, help="vae.safetensors")
    parser.add_argument("--unet", required=True, help="folder with unet, reference and, if there are, expert files")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.6, help="last share of the steps in which the rate falls")
    parser.add_argument("--only-experts", action="store_true", help="leave the base and the decoder as they are")
    parser.add_argument("--pure", type=float, default=PURE_NOISE, help="share of the samples that are pure noise")
    parser.add_argument("--mask", help="mask_predictor.safetensors whose regions gate the experts; default: true ones")
    parser.add_argument("--large", help="folder of shards with frames of a larger canvas, 384 or 512 px")
    parser.add_argument("--side", type=float, default=1.0, help=f"how often frames from {SIDE} degrees on are drawn")
    parser.add_argument("--without", nargs="*", default=(), choices=PARTS, help="the parts of an ablation")


def load_pair(folder: str | Path) -> tuple[Experts, ...] | None:
    """Load both expert files of a folder; None where one of them is missing."""
    paths = {kind: Path(folder) / f"{name}.safetensors" for kind, name in FILES.items()}
    if not all(path.is_file() for path in paths.values()):
        return None
    return tuple(checkpoint.load(kind, path) for kind, path in paths.items())


def run(options: argparse.Namespace) -> None:
    """Train denoiser, experts and autoencoder together, from the files that `options` name, and write unet, reference,
    vae, view_experts and mask_experts (`save_joint`) into `options.out`."""
    data, vae, base = open_frames(options), checkpoint.load(TinyAutoencoder, options.vae), load_stage_two(options.unet)
    large = open_frames(options, options.large) if options.large else None
    model = train_joint(
        base, vae, data, options.run, options.steps, options.seed,
        lr=options.lr, decay=options.decay, experts=load_pair(options.unet), only_experts=options.only_experts,
        without=tuple(options.without), pure=options.pure, large=large, side=options.side,
        predictor=checkpoint.load(MaskPredictor, options.mask) if options.mask else None,
    )  # fmt: skip
    save_joint(model, options.out, **made(options, **counted(*(d for d in (data, large) if d is not None))))
