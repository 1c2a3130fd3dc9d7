"""The loss of the language prior's sound path on clips: predict the states of the words that are said.

`prior.align` also contrasts the words of its corpus. Clips have an open vocabulary, and crops without a word, so this
loss needs neither a list of words nor speech in every crop."""

import torch.nn.functional as F
from torch import Tensor

from ...motion.networks.prior import LanguagePrior
from ..loop import Batch


def hearing_loss(prior: LanguagePrior, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Compute the distance between the states heard in audio (B, T, F) and target (B, T, D), and their angle in speech.

    batch: target is zero where nothing is said. Returns (loss, {name: number})."""
    heard, target = prior.hear(batch["audio"]), batch["target"]
    spoken = (target.abs().sum(-1) > 0).float()
    distance = (heard - target).square().mean()
    turn = ((1 - F.cosine_similarity(heard, target, -1, 1e-4)) * spoken).sum() / spoken.sum().clamp_min(1)
    return distance + turn, {"distance": float(distance.detach()), "cosine": 1 - float(turn.detach())}
