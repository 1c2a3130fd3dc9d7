"""Every trainer of `train ... --clips` with tiny networks and toy data: model, batches, loss, what learns."""

import numpy as np
import torch

from stereotalker_core.motion.networks.denoiser import MotionDenoiser
from stereotalker_core.motion.networks.prior import LanguagePrior
from stereotalker_core.motion.representation import MotionCodec
from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from stereotalker_core.training.loop import generator
from stereotalker_core.training.motion import denoiser as motion
from stereotalker_core.training.motion.hearing import hearing_loss
from stereotalker_core.training.motion.motion_data import MotionData
from stereotalker_core.training.video import mask
from stereotalker_core.training.video.denoising import DenoisingLoss, LossOptions, PictureBatches
from stereotalker_core.training.video.stage_two import StageTwo, learns
from stereotalker_core.video.networks.experts import MaskExperts, ViewExperts
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import StereoTalkerUNet
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from tests.motion.samples import make_denoiser, make_prior
from tests.training.stage2_samples import PARTS, write_shard
from tests.video.samples import CONFIG

NAMES = ("image", "clips", "experts", "mask", "motion", "prior")


def write_data(root):
    """A shard of avatar frames and two recordings whose jaw follows the first phone channel."""
    write_shard(root / "frames" / "00", size=32)
    folder = root / "motion"
    folder.mkdir()
    rng, n = np.random.default_rng(0), 160
    phones = rng.random((n, 40)).astype(np.float16)
    values = rng.normal(0, 0.1, (n, 199)).astype(np.float16)
    values[:, 147:] = 0.1
    values[:, 147 + 24] = 0.5 * phones[:, 0]
    states = rng.random((2, n, 16)).astype(np.float16)
    tracks = {
        "phones": phones, "prosody": rng.random((n, 5)), "features": np.zeros((n, 0)), "motion": values,
        "text": states[0], "heard": states[1], "closed": rng.integers(0, 2, n).astype(np.uint8),
        "word": (np.arange(n) // 8 % 4).astype(np.int16), "gesture": (np.arange(n) // 20 % 3).astype(np.uint8),
        "style": np.zeros((2, motion_style())), "held": np.array([False, False]), "starts": np.array([0, 80, 160]),
    }  # fmt: skip
    for name, track in tracks.items():
        np.save(folder / f"{name}.npy", track)
    (folder / "words.txt").write_text("- one two three\n")
    return root


def motion_style() -> int:
    from stereotalker_core.motion.conditioning import STYLE_WIDTH

    return STYLE_WIDTH


def denoiser(experts: bool = False, config=CONFIG) -> StageTwo:
    torch.manual_seed(0)
    unet = StereoTalkerUNet(config)
    torch.nn.init.normal_(unet.unet.conv_out.weight, std=0.1)
    reference = ReferenceNet(config.reference())  # before the experts: with and without them it is the same
    modules = (ViewExperts.for_unet(unet, 2), MaskExperts.for_unet(unet, 2)) if experts else ()
    return StageTwo(unet, reference, modules)


def autoencoder() -> TinyAutoencoder:
    torch.manual_seed(1)
    return TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4)).eval().requires_grad_(False)


def make(name: str, root):
    """(model, batch, loss, trainable) of one trainer."""
    if name in ("motion", "prior"):
        return _stage_1(name, MotionData(root / "motion"))
    data = AvatarData(find_shards(root / "frames"), PARTS)
    if name == "mask":
        torch.manual_seed(0)
        model = MaskPredictor(MaskConfig((0, 2, 3, 3) + (1,) * 15, widths=(8, 8, 8), groups=4))
        return model, mask.MaskBatches(data, 2), mask.loss, lambda _: True
    clips = name == "clips"
    options = LossOptions(4 if clips else None, drop=0.3, expert_drop=0.3, flicker=0.5 if clips else 0.0)
    loss = DenoisingLoss(autoencoder().encode, options)
    parts = {"image": ("unet", "reference", "pose", "tokens"), "clips": ("motion",), "experts": ("experts",)}[name]
    batches = PictureBatches(data, 1, 4 if clips else 2, clips, seed=5)
    return denoiser(name == "experts"), batches, loss, learns(parts)


def _stage_1(name: str, data: MotionData):
    if name == "motion":
        net: MotionDenoiser = make_denoiser()
        net.codec.load_state_dict(motion.fit_codec(data, net.config.codec).state_dict())
        recipe = motion.Recipe(batch=2, lengths=(12, 20))
        codec = MotionCodec(net.codec.config)
        codec.load_state_dict(net.codec.state_dict())
        gap = (torch.tensor(2.0), torch.full((52,), 0.1))
        return net, lambda i: motion.draw_batch(data, codec, recipe, 0, i), motion.MotionLoss(codec, recipe, gap), _all
    model: LanguagePrior = make_prior()

    def batch(index: int):
        crops = data.crops(generator(0, index), 2, 24, held=True)
        return {"audio": crops["audio"], "target": crops["text"].float()}

    return model, batch, hearing_loss, lambda n: any(p in n for p in ("projector", "lora_", "gate"))


def _all(name: str) -> bool:
    return True
