"""The language prior: hidden states of a language model for what is being said, one per frame (docs/motion.md).

From sound alone, a projector maps audio channels to input embeddings of the model, which processes them with LoRA
adapters (Hu et al., arXiv 2106.09685). With a transcript, the model without adapters reads the words, and the state of
each word is repeated over its frames; the sound path is trained to predict these states. A small linear head classifies
the meaning of a state: trained on some words, it generalises to their synonyms, whose states are near."""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...audio.phones import PHONES
from ...shapes import FPS, dims
from ..conditioning import N_PROSODY
from .lora import adapters, add_lora

Word = tuple[str, float, float]  # word, start s, end s
REACH = 12  # frames on either side that the projector sees
TEMPERATURE = 0.08  # of the nearness of words: the alignment is trained with it
SPOKEN = 0.2  # size of a state, against one of text, from which on it counts as said
READ_STRENGTH = 2.0  # words of a transcript are told this much louder than what is heard: they are certain
SHORTEST = 8  # frames for which a word is told that means a gesture
BLOCK = 64  # frames (or tokens) read at a time, after as many of context: memory does not grow with the length


def nano_llm(vocabulary: int, hidden: int = 192, layers: int = 4) -> str:
    """Return the configuration (JSON) of the tiny Llama that ships with the package.

    vocabulary: number of tokens; hidden: width; layers: number of layers."""
    config = {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 6 if hidden % 6 == 0 else 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
    }
    return json.dumps(config)


class Projector(nn.Module):
    """Map audio channels (B, T, F) -> input embeddings of the language model (B, T, D).

    channels: F.
    width: channels of the hidden layers.
    out: D.
    deep: one more convolution; each frame then sees 12 others on either side, instead of 8."""

    def __init__(self, channels: int, width: int, out: int, deep: bool = False):
        super().__init__()
        self.first = nn.Conv1d(channels, width, 13, padding=6)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.third = nn.Conv1d(width, width, 5, padding=4, dilation=2) if deep else None
        self.out = nn.Linear(width, out)

    def forward(self, audio: Tensor) -> Tensor:
        h = F.gelu(self.first(audio.transpose(1, 2)))
        h = h + F.gelu(self.second(h))
        return self.out((h if self.third is None else h + F.gelu(self.third(h))).transpose(1, 2))


class LanguagePrior(nn.Module):
    """The language prior: projector, language model with LoRA, and tokenizer, in one module and one file.

    llm: a loaded language model; None builds that of the config, without its weights.

    `hear` gives states of what is said from the sound, `read` from timed words; `track` appends the classes of meaning.
    """

    @dataclass(frozen=True)
    class Config:
        llm: str = nano_llm(512)  # configuration of any Hugging Face causal language model, as JSON
        tokenizer_bytes: int = 0  # size of the packed tokenizer; 0 = none, transcripts cannot be read
        features: int = 0  # width of the raw encoder features among the audio channels
        projector: int = 160
        deep_projector: bool = False
        rank: int = 8
        lexicon: int = 0  # words whose states are stored, to classify a state by the nearest ones
        classes: tuple[str, ...] = ()  # names of the classes of meaning of the head

        @property
        def audio(self) -> int:
            return len(PHONES) + N_PROSODY + self.features
    tokenizer_json: Tensor
    lexicon: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: Config | None = None, llm: nn.Module | None = None):
        super().__init__()
        self.config = config = config or self.Config()
        self.width: int = llm_config(config.llm).get_text_config().hidden_size  # n_embd and others have this alias
        self.register_buffer("tokenizer_json", torch.zeros(config.tokenizer_bytes, dtype=torch.uint8))
        self.llm = add_lora(llm if llm is not None else _empty_llm(config.llm), config.rank, 2 * config.rank)
        self.projector = Projector(config.audio, config.projector, self.width, config.deep_projector)
        self.gate = nn.Linear(self.width, 1)
        self.meaning_head = nn.Linear(self.width, 1 + len(config.classes)) if config.classes else None  # 0 = none
        words = torch.zeros(config.lexicon, self.width) if config.lexicon else None
        self.register_buffer("lexicon", words)  # their standardised states
        self.register_buffer("mean", torch.zeros(self.width))  # of the normalised states over text, so that what
        self.register_buffer("std", torch.ones(self.width))  # tells words apart is not drowned by what they share

    @property
    def track_width(self) -> int:
        """Return the number of channels of `track`, the input of a denoiser per frame."""
        return self.width + len(self.config.classes)

    # ---------------------------------------------------------------- building
    @classmethod
    def from_folder(cls, path: str | Path, **settings) -> "LanguagePrior":
        """Load any causal language model saved by transformers (config.json, weights, tokenizer), with new LoRA
        adapters.

        settings: other fields of Config. ValueError where the folder holds no such model."""
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
        """Map audio channels (B, T, F) -> (B, T, D): the state of the word being said, near zero in silence."""
        dims(audio, f"B T {self.config.audio}")
        with adapters(self.llm, True):
            hidden = self.llm(inputs_embeds=self.projector(audio), use_cache=False).last_hidden_state
        return self.standardise(hidden.float()) * torch.sigmoid(self.gate(hidden.float()))

    @torch.no_grad()
    def hear_block(self, audio: Tensor, index: int) -> Tensor:
        """Return the states (frames, D) of block number `index` of audio channels (T, F); the block before it is
        context."""
        start = index * BLOCK
        first, last = max(0, start - BLOCK), min(len(audio), start + BLOCK + REACH)
        return self.hear(audio[None, first:last])[0, start - first : start - first + BLOCK]

    @torch.no_grad()
    def hear_all(self, audio: Tensor) -> Tensor:
        """Map audio channels (T, F) of any length -> states (T, D), block by block."""
        parts = [self.hear_block(audio, index) for index in range(-(-len(audio) // BLOCK))]
        return torch.cat(parts) if parts else audio.new_zeros(0, self.width)

    @torch.no_grad()
    def read(self, words: Sequence[Word], frames: int, fps: float = FPS) -> Tensor:
        """Map timed words -> (frames, D): each word's state during its frames, zero elsewhere."""
        out = torch.zeros(frames, self.width, device=self.gate.weight.device)
        states = self.read_words([word for word, _, _ in words])
        for state, (_, start, end) in zip(states, words, strict=True):
            first, last = word_span(start, end, frames, fps)
            out[first:last] = state
        return out

    def read_words(self, words: Sequence[str]) -> Tensor:
        """Map n words of running text -> standardised states (n, D), each word in the context of those before it."""
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

    def meaning(self, states: Tensor, read: bool = False) -> Tensor:
        """Map standardised states (..., D) -> probabilities of the classes of meaning (..., C); the rest to 1 is
        "none".

        read: the states are those of a transcript and are classified themselves. Otherwise, with a lexicon, its words
            are weighted by how near their states are, because a state predicted from sound lies between several words,
            which often have the same meaning.

        ValueError where the prior has no meaning head."""
        if self.meaning_head is None:
            raise ValueError("this language prior has no classes of meaning; train it with: train prior meaning")
        if self.lexicon is None or read:
            return self.meaning_head(states).softmax(-1)[..., 1:]
        words = self.meaning_head(self.lexicon.float()).softmax(-1)[:, 1:]
        near = F.normalize(states, dim=-1, eps=1e-4) @ F.normalize(self.lexicon.float(), dim=-1).T
        return (near / TEMPERATURE).softmax(-1) @ words

    def track(self, states: Tensor, read: bool = False) -> Tensor:
        """Map states (..., D), near zero in silence -> (..., D + C), with the probabilities of the classes appended.

        read: the states come from a transcript, not from the sound."""
        if self.meaning_head is None:
            return states
        spoken = (states.norm(dim=-1, keepdim=True) / (SPOKEN * self.width**0.5)).clamp_max(1)
        return torch.cat([states, self.meaning(states, read) * spoken], -1)

    def standardise(self, hidden: Tensor) -> Tensor:
        """Map last hidden states (..., D) of any language model -> about zero mean and unit variance over text."""
        return (F.layer_norm(hidden, hidden.shape[-1:]) - self.mean) / self.std

    def read_tokens(self, ids: Tensor) -> Tensor:
        """Map token ids (B, N) -> last hidden states (B, N, D), LoRA off; token 0 is prepended as the start of the
        text."""
        with adapters(self.llm, False):
            start = ids.new_zeros(len(ids), 1)
            return self.llm(input_ids=torch.cat([start, ids], 1), use_cache=False).last_hidden_state[:, 1:].float()

    def tokenizer(self):
        """Return the `tokenizers.Tokenizer` of the language model; ValueError where there is none."""
        from tokenizers import Tokenizer

        if not self.config.tokenizer_bytes:
            raise ValueError("this language prior has no tokenizer; leave the transcript out")
        return Tokenizer.from_str(unpack_tokenizer(self.tokenizer_json))


class PriorTrack:
    """The prior's `track` of a recording, computed when sliced: [begin:end] -> (frames, D + C).

    audio: (T, F) audio channels, which are used where there are no words.
    words: of a transcript, which replace the sound; or, with `spotted`, single words found in the sound, each read
        without context, between which the sound is used.
    strength: factor on the result."""

    def __init__(
        self,
        prior: LanguagePrior,
        audio: Tensor,
        words: Sequence[Word] = (),
        strength: float = 1.0,
        spotted: bool = False,
    ):
        self.prior, self.audio, self.words, self.strength, self.spotted = prior, audio, words, strength, spotted
        names = [word for word, _, _ in words]
        alone = {word: prior.read_words([word]) for word in set(names)} if spotted else {}
        states = torch.cat([alone[word] for word in names]) if alone else prior.read_words(names)
        self.states = states.detach() if words else None
        self.spans = self._spans() if words else []
        self.blocks: dict[int, Tensor] = {}

    @torch.no_grad()
    def __getitem__(self, frames: slice) -> Tensor:
        if self.states is None:
            return self.strength * self.prior.track(self._heard(frames))
        read = READ_STRENGTH * self.strength * self.prior.track(self._read(frames), read=True)
        if not self.spotted:
            return read
        said = read.abs().amax(1, keepdim=True) > 0
        return torch.where(said, read, self.strength * self.prior.track(self._heard(frames)))

    def _heard(self, frames: slice) -> Tensor:
        wanted = range(frames.start // BLOCK, (frames.stop - 1) // BLOCK + 1)
        self.blocks = {i: b for i, b in self.blocks.items() if i in wanted}
        for index in wanted:
            if index not in self.blocks:
                self.blocks[index] = self.prior.hear_block(self.audio, index)
        states = torch.cat([self.blocks[i] for i in wanted])
        return states[frames.start - wanted[0] * BLOCK : frames.stop - wanted[0] * BLOCK]

    def _spans(self) -> list[tuple[int, int, int]]:
        """Return (index of the word, first frame, stop frame) in the order of writing; words with a gesture come last.

        A gesture does not fit in the tenth of a second that a short word takes, so such words get longer spans."""
        spans, told = [], []
        read = self.states if self.prior.config.classes else None
        means = [] if read is None else self.prior.meaning(read, read=True).sum(1).tolist()
        for number, (_, start, end) in enumerate(self.words):
            first, last = word_span(start, end, len(self.audio))
            if means and means[number] > 0.5:
                missing = max(0, SHORTEST - (last - first))
                told.append((number, max(0, first - missing // 2), last + missing - missing // 2))
            else:
                spans.append((number, first, last))
        return spans + told

    def _read(self, frames: slice) -> Tensor:
        out = torch.zeros(frames.stop - frames.start, self.prior.width, device=self.audio.device)
        for number, first, last in self.spans:
            if self.states is not None and first < frames.stop and last > frames.start:
                out[max(0, first - frames.start) : last - frames.start] = self.states[number]
        return out


def word_span(start: float, end: float, frames: int, fps: float = FPS) -> tuple[int, int]:
    """Return the first and stop frame of a word said from `start` to `end` seconds, at least one frame apart.

    frames: length of the recording, within which both lie; fps: frames per second."""
    first = min(round(start * fps), frames)
    return first, max(first + 1, round(end * fps))


def llm_config(description: str):
    """Return the transformers configuration described by the JSON of `Config.llm`. ValueError without a model_type."""
    from transformers import AutoConfig

    values = json.loads(description)
    if "model_type" not in values:
        raise ValueError("the language model's configuration names no model_type; give that of a Hugging Face model")
    return AutoConfig.for_model(values.pop("model_type"), **values)


def _empty_llm(description: str) -> nn.Module:
    from transformers import AutoModel

    return AutoModel.from_config(llm_config(description))


def pack_tokenizer(text: str) -> Tensor:
    """Return the text of tokenizer.json as compressed bytes (N,), so that it is stored in the checkpoint."""
    return torch.frombuffer(bytearray(zlib.compress(text.encode(), 9)), dtype=torch.uint8)


def unpack_tokenizer(packed: Tensor) -> str:
    """Return the text of tokenizer.json that `pack_tokenizer` compressed."""
    return zlib.decompress(packed.cpu().numpy().tobytes()).decode()
