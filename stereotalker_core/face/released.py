"""Released ProbTalk3D checkpoints (Lightning .ckpt) -> one safetensors file with the config in its metadata.

    python -m stereotalker_core.face.released last.ckpt probtalk3d.safetensors

Only tensors are read from the checkpoint: no code in it is executed, and neither Lightning nor omegaconf is needed."""

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load, save
from ..pickled import TRAINING_STATE, load_pickled
from .hubert import HubertSize
from .layers import position_table
from .layout import N_PARAMETERS
from .model import ProbTalk3D
from .prior import MotionPrior

logger = logging.getLogger(__name__)
State = dict[str, Tensor]
_LOSSES = "_losses."
_OLD, _NEW = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
_POSITIONS = "encoder.pos_conv_embed.conv."


def read_checkpoint(path: str | Path) -> State:
    """Read the tensors of a Lightning checkpoint or a bare state dict (.ckpt, .pt); no code in the file is executed.

    FileNotFoundError, or ValueError that names the file, where it is damaged, contains code, or has no weights."""
    content = load_pickled(path, TRAINING_STATE)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} has no state_dict of tensors; give the last.ckpt of a ProbTalk3D run")
    return state


def clean_state(state: State) -> State:
    """Return a released state dict without loss counters and position tables, with HuBERT's current weight-norm names.

    ValueError where a position table is not the sine table that the model computes."""
    out: State = {}
    for key, value in state.items():
        if _LOSSES in key:
            continue
        if key.endswith("pos_embedding.pe"):
            _check_table(key, value)
            continue
        for old, new in zip(_OLD, _NEW, strict=True):
            key = key.replace(_POSITIONS + old, _POSITIONS + new)
        out[key] = value
    return out


def _check_table(key: str, value: Tensor) -> None:
    if value.is_meta:
        return
    expected = position_table(value.shape[-1], len(value))
    if value.shape != expected.shape or not torch.allclose(value.float(), expected, atol=2e-3):
        raise ValueError(f"{key} is not the sine position table; this is not a ProbTalk3D checkpoint")


def prior_config(state: State, heads: int = 8, prefix: str = "") -> MotionPrior.Config:
    """Derive the sizes of a stage-1 state dict from its shapes. ValueError where it is not one.

    heads: of the attention, which the shapes do not tell; prefix: of the keys."""
    name = prefix + "motion_encoder.feature_mapping.0.weight"
    if name not in state or state[name].shape[1] != N_PARAMETERS or prefix + "quantize.embedding.weight" not in state:
        raise ValueError(f"no ProbTalk3D motion prior in this checkpoint ({name} is missing or has another shape)")
    codes, code_width = state[prefix + "quantize.embedding.weight"].shape
    first = prefix + "motion_encoder.encoder_transformer.net."
    return MotionPrior.Config(
        width=state[name].shape[0],
        encoder_layers=_transformer_layers(state, first),
        decoder_layers=_transformer_layers(state, prefix + "motion_decoder.decoder_transformer.net."),
        heads=heads,
        inner=state[first + "1.fn.fn.l1.weight"].shape[0],
        codes=codes,
        code_width=code_width,
    )


def model_config(state: State, heads: int = 8, hubert_heads: int = 12) -> ProbTalk3D.Config:
    """Derive the sizes of a stage-2 state dict from its shapes (old or new weight-norm names).

    heads, hubert_heads: of the attentions, which the shapes do not tell."""
    root = "feature_extractor.audiomodel."
    if "feature_predictor.audio_feature_map.weight" not in state or root + "masked_spec_embed" not in state:
        raise ValueError("no ProbTalk3D predictor in this checkpoint; give the stage-2 file (it holds all parts)")
    state = clean_state(state)
    position = state[root + _POSITIONS + _NEW[1]]
    kernels = sorted(k for k in state if k.startswith(root + "feature_extractor.conv_layers.") and "conv.weight" in k)
    size = HubertSize(
        width=position.shape[0],
        layers=_blocks(state, root + "encoder.layers."),
        heads=hubert_heads,
        inner=state[root + "encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
        convolutions=tuple(state[k].shape[0] for k in kernels),
        position_kernel=position.shape[2],
        position_groups=position.shape[0] // position.shape[1],
    )
    return ProbTalk3D.Config(
        prior=prior_config(state, heads, "motion_prior."),
        hubert=size,
        audio=state["feature_predictor.audio_feature_map.weight"].shape[1],
        layers=_transformer_layers(state, "feature_predictor.encoder_transformer.net."),
    )


def _transformer_layers(state: State, prefix: str) -> int:
    """Return the number of transformer layers under `prefix`, each made of two blocks: attention and MLP."""
    return _blocks(state, prefix) // 2


def _blocks(state: State, prefix: str) -> int:
    """Return the number of numbered blocks under `prefix`."""
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})


def load_state(model: MotionPrior | ProbTalk3D, state: State) -> None:
    """Load a released state dict strictly; ValueError lists what is missing or does not belong."""
    missing, unexpected = model.load_state_dict(clean_state(state), strict=False, assign=True)
    if missing or unexpected:
        raise ValueError(f"the checkpoint does not fit: missing {missing[:5]}, unexpected {unexpected[:5]}")


def build(state: State, heads: int = 8, hubert_heads: int = 12) -> MotionPrior | ProbTalk3D:
    """Build the model of a released state dict, stage 2 or stage 1, with its weights."""
    if any(key.startswith("feature_predictor.") for key in state):
        model: MotionPrior | ProbTalk3D = ProbTalk3D(model_config(state, heads, hubert_heads))
    else:
        model = MotionPrior(prior_config(state, heads))
    load_state(model, state)
    return model.float().eval()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(prog="face.released", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="Lightning .ckpt of stage 1 or 2")
    parser.add_argument("out", type=Path, help=".safetensors")
    parser.add_argument("--heads", type=int, default=8, help="attention heads of the prior and the predictor")
    parser.add_argument("--hubert-heads", type=int, default=12)
    options = parser.parse_args(arguments)
    if options.out.suffix != ".safetensors":
        raise ValueError(f"{options.out} must end in .safetensors")
    model = build(read_checkpoint(options.checkpoint), options.heads, options.hubert_heads)
    command = f"python -m stereotalker_core.face.released {options.checkpoint.name} {options.out.name}"
    save(model, options.out, torch.float32, command=command, seed=-1, commit="", metrics={})
    load(type(model), options.out)
    logger.info("wrote %s: %s", options.out, model.config)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
