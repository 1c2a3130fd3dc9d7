"""The bake: unseen parts of a person's texture are generated once and stored in the identity's atlas, then played.

The rig's views of the atlas are denoised together (`BakeNetwork`); the difference to the previous texture is
projected back to the atlas, where every texel takes it from the views that show it best, and added where the portrait
did not show the texel. There clothes and hair get the grain of the seen ones, because the network predicts means.
What it showed stays bitwise unchanged. Eyes, teeth, mouth and lids keep their fill, in photographs all but the back
of the clothes: cuffs, ties and hairlines are others there than synthetic people's."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.grain import textured
from ...body.texture.rig import FITS, RIG_ATLAS, Rig
from ...body.texture.texels import ATLAS, Lifter, usual_lifter
from ...checkpoint import NANO, load
from ...options import check_limits, option
from ...precision import rendering_precision
from ...records import Identity
from ..networks.bake_network import NOISE, BakeNetwork

EMBEDDED = NANO / "bake.safetensors"
# photographs keep their fill above the neck, beside the trunk (metres between which it ends) and in front
_NECK, _TRUNK = (0.50, 0.56), (0.17, 0.20)
_BACK = 0.4  # how far a normal is turned to the back where it is the back altogether
_SHOWN = 0.98  # visibility from which a texel is the portrait's alone


@dataclass(frozen=True)
class BakeOptions:
    """The settings of a bake; the factors view_strength and mask_strength are on the output of the experts."""

    strength: float = option(
        1.0, 0, 1, "How much of what the network draws is used where the portrait shows nothing; 0 = the plain fill.",
        step=0.05,
    )  # fmt: skip
    steps: int = option(1, 1, 50, "Denoising steps of the bake; more are no sharper with the embedded network.")
    seed: int = option(0, 0, 2**64 - 1, "Noise from which it is drawn.")
    view_strength: float = option(1.0, 0, 4, "Strength of the bake's view experts; 0 = off.", (0, 2), 0.05)
    mask_strength: float = option(1.0, 0, 4, "Strength of the bake's mask experts; 0 = off.", (0, 2), 0.05)

    def __post_init__(self) -> None:
        check_limits(self)


def load_bake(path: str | Path | None = None, device: str | torch.device = "cpu") -> BakeNetwork:
    """Load the network from a file of `train bake`, None: the embedded one. FileNotFoundError and ValueError name a bad
    file."""
    return load(BakeNetwork, EMBEDDED if path is None else path, str(device))


@torch.inference_mode()
def bake(
    network: BakeNetwork, body: HalfBody, identity: Identity, options: BakeOptions | None = None, rig: Rig | None = None
) -> Identity:
    """Generate the part of a person's texture that the portrait does not show.

    network: generates the texture, on any device.
    body: the half body.
    identity: a fitted person; an earlier bake is replaced.
    options: settings; strength 0 gives exactly the fill from the portrait alone.
    rig: the body's tables, shared where many people are baked.

    Returns the identity with its new atlas, on the identity's device. ValueError for an identity of version 0.1, whose
    atlas has another layout."""
    options, plain = options or BakeOptions(), identity.before_bake()
    if options.strength == 0:
        return plain
    if plain.atlas_layout != 2:
        raise ValueError("this identity was made by version 0.1; fit the portrait again to bake it")
    device = next(network.parameters()).device
    if rig is None:
        rig = Rig(body if body.mean.device.type == "cpu" else copy.deepcopy(body).cpu())
    rig = rig.to(device)
    atlas, visibility = plain.atlas.to(device).float(), plain.visibility.to(device).float()
    small = F.interpolate(torch.cat([atlas, visibility])[None], (RIG_ATLAS, RIG_ATLAS), mode="area")[0]
    pictures = rig.pictures(small)[None]
    experts = options.view_strength, options.mask_strength
    photographed = plain.rest_rotations is not None  # fits of photographs have a rest state
    fit = FITS.index("registered" if photographed else "true")
    drawn = sample(network, rig, pictures[..., :3], pictures[..., 3:], options.seed, options.steps, experts, fit)
    change = (drawn - pictures[..., :3])[0]
    where = torch.ones_like(change)
    if photographed:
        where = where * (rig.normal[:, 1:2] / _BACK).clamp(0, 1) * _ramp(rig.position[:, 2:], _NECK)
        where = where * _ramp(rig.position[:, :1].abs(), _TRUNK)
    both = torch.stack([rig.to_atlas(change * where), rig.to_atlas(where)])
    change, where = F.interpolate(both, atlas.shape[-2:], mode="bilinear", align_corners=False)
    share = options.strength * (1 - visibility / _SHOWN).clamp(0, 1)
    baked = torch.where(share > 0, (atlas + share * change).clamp(-1, 1), atlas)
    here, size = body.mean.device, atlas.shape[-1]
    lifter = usual_lifter(body, str(here)) if size == ATLAS else Lifter(body, size)
    baked = textured(body, lifter, *(x.to(here) for x in (baked, visibility, share * where[:1])), photographed)
    return replace(plain, atlas=baked.to(plain.atlas), baked=float(options.strength), unbaked=plain.atlas)


def _ramp(values: Tensor, ends: tuple[float, float]) -> Tensor:
    """Return 1 below the first end, 0 above the second."""
    return ((ends[1] - values) / (ends[1] - ends[0])).clamp(0, 1)


def sample(
    network: BakeNetwork,
    rig: Rig,
    lift: Tensor,
    visibility: Tensor,
    seed: int,
    steps: int,
    strengths: tuple[float, float] = (1.0, 1.0),
    fit: int = -1,
) -> Tensor:
    """Denoise from pure noise -> the texture (1, P, 3) in [-1, 1].

    network: generates the texture.
    rig: tables of the body.
    lift, visibility: (1, P, 3) the portrait's colours on the body, and (1, P, 1) where it shows them.
    seed: determines the noise.
    steps: number of denoising steps.
    strengths: factors on the output of view and mask experts.
    fit: place in FITS; -1 is "registered"."""
    noise = torch.randn(3, RIG_ATLAS**2, generator=torch.Generator().manual_seed(seed)).T  # one texel, one noise
    state = noise.to(lift.device)[rig.texel][None] * NOISE
    clean, told = state, torch.tensor([fit % len(FITS)], device=lift.device)
    for step in range(steps):
        level, following = 1 - step / steps, 1 - (step + 1) / steps
        with rendering_precision(lift.device):
            found = network(rig, lift, visibility, state, lift.new_full((1,), level), strengths, told)
        clean = found.float().clamp(-1, 1)
        state = clean + (state - clean) * (following / level)
    return clean

