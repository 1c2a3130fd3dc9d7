"""Gradient checkpointing: chosen blocks keep only their inputs and run again in the backward pass.

Saves the activations inside every block for about one more forward pass. Works on any module tree; parameters and
state-dict keys are unchanged. The experts' context, which is empty after the forward pass, is restored for the second
run, and random numbers (dropout) are repeated."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..video.networks.experts import ExpertContext

# classes whose instances are worth running twice: transformer blocks, residual blocks, motion modules
BLOCKS = (
    "BasicTransformerBlock", "ResnetBlock2D", "AnimateDiffTransformer3D", "Block", "LlamaDecoderLayer",
    "Wav2Vec2EncoderLayer",
)  # fmt: skip


def blocks_of(model: nn.Module, kinds: Sequence[str] = BLOCKS) -> list[nn.Module]:
    """Return the outermost modules whose class, or one of its bases, has one of the names in `kinds`."""
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            if any(base.__name__ in kinds for base in type(child).__mro__):
                found.append(child)
            else:
                visit(child)

    visit(model)
    return list(dict.fromkeys(found))


def recompute(model: nn.Module, kinds: Sequence[str] = BLOCKS) -> int:
    """Checkpoint all blocks of these kinds, in place -> their number. ValueError where there are none."""
    blocks = blocks_of(model, kinds)
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no block of {', '.join(kinds)}: leave recompute off")
    contexts = _contexts(model)
    for block in blocks:
        block.forward = _twice(block.forward, contexts)
    return len(blocks)


def _contexts(model: nn.Module) -> list[ExpertContext]:
    found = (getattr(module, "context", None) for module in model.modules())
    return list({id(c): c for c in found if isinstance(c, ExpertContext)}.values())


def _twice(forward: Callable[..., Any], contexts: list[ExpertContext]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        seen = [vars(context).copy() for context in contexts]
        return checkpoint(
            forward, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _as_seen(contexts, seen)), **kwargs
        )

    return run


@contextmanager
def _as_seen(contexts: list[ExpertContext], seen: list[dict[str, Any]]):
    with ExitStack() as stack:
        for context, state in zip(contexts, seen, strict=True):
            stack.callback(vars(context).update, vars(context).copy())
            vars(context).update(state)
        yield
