"""CLIP's embedding of the portrait as the single cross-attention token of AnimateAnyone-type renderers."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...shapes import dims

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures CLIP was trained on
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The sizes of the encoder; the defaults are ViT-L/14, as in the Stable Diffusion image variations under
    AnimateAnyone."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    feed_forward: int = 4096
    patch: int = 14
    side: int = 224
    out: int = 768
    activation: str = "quick_gelu"


class ImageEncoder(nn.Module):
    """Map portraits (I, 3, H, W) in [-1, 1] -> tokens (I, 1, out)."""

    Config = ImageEncoderConfig

    def __init__(self, config: ImageEncoderConfig | None = None) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__()
        self.config = c = config or ImageEncoderConfig()
        self.model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=c.width,
                num_hidden_layers=c.layers,
                num_attention_heads=c.heads,
                intermediate_size=c.feed_forward,
                patch_size=c.patch,
                image_size=c.side,
                projection_dim=c.out,
                hidden_act=c.activation,
            )
        )

    def forward(self, portrait: Tensor) -> Tensor:
        """Map portraits (I, 3, H, W) in [-1, 1] -> projected class embeddings (I, 1, out).

        They are resized to CLIP's square without regard to aspect ratio, as is usual with these weights."""
        dims(portrait, "I 3 H W")
        side, weight = self.config.side, self.model.visual_projection.weight
        image = F.interpolate(portrait.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)
        image = (image.clamp(-1, 1) + 1) / 2
        mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (_MEAN, _STD))
        pixels = ((image - mean) / std).to(weight.device, weight.dtype)
        return self.model(pixel_values=pixels).image_embeds[:, None]


def no_image(encoder: ImageEncoder, portraits: int = 1) -> Tensor:
    """Return zero tokens (I, 1, out), which represent no portrait."""
    weight = encoder.model.visual_projection.weight
    return torch.zeros(portraits, 1, encoder.config.out, device=weight.device, dtype=weight.dtype)
