"""The language prior: what is being said, as hidden states of a language model, one a frame (DESIGN section 4).

From the sound alone a projector turns audio channels into input embeddings of the model, which reads them with LoRA
adapters (Hu et al., arXiv 2106.09685). With a transcript the model itself, without adapters, reads the words, and the
state of each word is laid on its frames; that is also what the sound path is trained to reach.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio.phones import PHONES
from ..shapes import FPS, dims
from .conditioning import N_PROSODY
from .lora import adapters, add_lora

Word = tuple[str, float, float]  # word, start s, end s
BLOCK = 128  # frames (or tokens) read at a time, after as many of context: memory does not grow with the length


def nano_llm(vocabulary: int, hidden: int = 192, layers: int = 4) -> str:
    """JSON of the tiny Llama that ships with the package."""
    config = {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 6 if hidden % 6 == 0 else 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2 * BLOCK,
        "tie_word_embeddings": False,
    }
    return json.dumps(config)


class Projector(nn.Module):
    """Audio channels (B, T, F) -> input embeddings of the language model (B, T, D); each frame sees +-8."""

    def __init__(self, channels: int, width: int, out: int):
        super().__init__()
        self.first = nn.Conv1d(channels, width, 13, padding=6)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.out = nn.Linear(width, out)

    def forward(self, audio: Tensor) -> Tensor:
        h = F.gelu(self.first(audio.transpose(1, 2)))
        return self.out((h + F.gelu(self.second(h))).transpose(1, 2))


class LanguagePrior(nn.Module):
    """Projector + language model with LoRA + its tokenizer, in one module and one file."""

    @dataclass(frozen=True)
    class Config:
        llm: str = nano_llm(512)  # configuration of any Hugging Face causal language model, as JSON
        tokenizer_bytes: int = 0  # size of the packed tokenizer; 0 = none, transcripts cannot be read
        features: int = 0  # width of the raw encoder features among the audio channels
        projector: int = 160
        rank: int = 8

        @property
        def audio(self) -> int:
            return len(PHONES) + N_PROSODY + self.features

    def __init__(self, config: Config | None = None, llm: nn.Module | None = None):
        super().__init__()
        self.config = config = config or self.Config()
        self.width: int = json.loads(config.llm)["hidden_size"]
        self.register_buffer("tokenizer_json", torch.zeros(config.tokenizer_bytes, dtype=torch.uint8))
        self.llm = add_lora(llm if llm is not None else _empty_llm(config.llm), config.rank, 2 * config.rank)
        self.projector = Projector(config.audio, config.projector, self.width)
        self.gate = nn.Linear(self.width, 1)
        self.register_buffer("mean", torch.zeros(self.width))  # of the normalised states over text, so that what
        self.register_buffer("std", torch.ones(self.width))  # tells words apart is not drowned by what they share

    # ---------------------------------------------------------------- building
    @classmethod
    def from_folder(cls, path: str | Path, **settings) -> "LanguagePrior":
        """Any causal language model saved by transformers (config.json, weights, tokenizer) with fresh LoRA.

        settings: other fields of Config. ValueError when the folder holds no such model.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        path = Path(path)
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} holds no config.json; give the folder of a Hugging Face causal language model")
        llm = AutoModel.from_pretrained(path, dtype=torch.float32)
        tokenizer = pack_tokenizer(AutoTokenizer.from_pretrained(path).backend_tokenizer.to_str())
        description = json.dumps(AutoConfig.from_pretrained(path).to_dict(), default=str)
        config = cls.Config(llm=description, tokenizer_bytes=len(tokenizer), **settings)
        prior = cls(config, llm)
        prior.tokenizer_json.copy_(tokenizer)
        return prior.eval()

    # ---------------------------------------------------------------- reading
    def hear(self, audio: Tensor) -> Tensor:
        """Audio channels (B, T, F) -> (B, T, D): the state of the word being said, near zero in silence."""
        dims(audio, f"B T {self.config.audio}")
        with adapters(self.llm, True):
            hidden = self.llm(inputs_embeds=self.projector(audio), use_cache=False).last_hidden_state
        return self.standardise(hidden.float()) * torch.sigmoid(self.gate(hidden.float()))

    @torch.no_grad()
    def hear_all(self, audio: Tensor) -> Tensor:
        """Audio channels (T, F) of any length -> (T, D), in blocks that see one block of the past."""
        parts = []
        for start in range(0, len(audio), BLOCK):
            first, last = max(0, start - BLOCK), min(len(audio), start + BLOCK + 8)  # 8: reach of the projector
            states = self.hear(audio[None, first:last])[0]
            parts.append(states[start - first : start - first + BLOCK])
        return torch.cat(parts) if parts else audio.new_zeros(0, self.width)

    @torch.no_grad()
    def read(self, words: Sequence[Word], frames: int, fps: float = FPS) -> Tensor:
        """Timed words -> (frames, D): each word's state on its frames, zero elsewhere."""
        out = torch.zeros(frames, self.width, device=self.gate.weight.device)
        states = self.read_words([word for word, _, _ in words])
        for state, (_, start, end) in zip(states, words, strict=True):
            first = min(round(start * fps), frames)
            out[first : max(first + 1, round(end * fps))] = state
        return out

    def read_words(self, words: Sequence[str]) -> Tensor:
        """N words of running text -> (N, D) standardised states, each word in the context of those before it."""
        if not words:
            return torch.zeros(0, self.width, device=self.gate.weight.device)
        tokenizer = self.tokenizer()
        plain = [re.sub(r"[^\w']", "", word.lower()) for word in words]  # punctuation is not spoken
        pieces = [tokenizer.encode(f" {word}", add_special_tokens=False).ids or [0] for word in plain]
        ids = torch.tensor([i for piece in pieces for i in piece], device=self.gate.weight.device)
        last = torch.tensor([len(piece) for piece in pieces]).cumsum(0) - 1
        states = []
        for start in range(0, len(ids), BLOCK):
            first = max(0, start - BLOCK + 1)
            states.append(self.read_tokens(ids[None, first : start + BLOCK])[0, start - first :])
        return self.standardise(torch.cat(states)[last])

    def standardise(self, hidden: Tensor) -> Tensor:
        """Last hidden states (..., D) of any language model -> about zero mean and unit variance over text."""
        return (F.layer_norm(hidden, hidden.shape[-1:]) - self.mean) / self.std

    def read_tokens(self, ids: Tensor) -> Tensor:
        """(B, N) token ids -> (B, N, D) last hidden states, LoRA off; token 0 is put in front as the start of text."""
        with adapters(self.llm, False):
            start = ids.new_zeros(len(ids), 1)
            return self.llm(input_ids=torch.cat([start, ids], 1), use_cache=False).last_hidden_state[:, 1:].float()

    def tokenizer(self):
        """The `tokenizers.Tokenizer` that came with the language model; ValueError when there is none."""
        from tokenizers import Tokenizer

        if not self.config.tokenizer_bytes:
            raise ValueError("this language prior has no tokenizer; leave the transcript out")
        return Tokenizer.from_str(unpack_tokenizer(self.tokenizer_json))


def _empty_llm(description: str) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    values = json.loads(description)
    return AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))


def pack_tokenizer(text: str) -> Tensor:
    """tokenizer.json as compressed bytes (N,), so that it travels in the checkpoint."""
    return torch.frombuffer(bytearray(zlib.compress(text.encode(), 9)), dtype=torch.uint8)


def unpack_tokenizer(packed: Tensor) -> str:
    """The text that `pack_tokenizer` packed."""
    return zlib.decompress(packed.cpu().numpy().tobytes()).decode()
