"""Turn a CTranslate2 Whisper file into a Hugging Face folder, the form that the speech teacher reads.

`python tools/whisper_from_ctranslate2.py model.bin FOLDER`, for float files; the weights are copied, not changed.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HEADS = {384: 6, 512: 8, 768: 12, 1024: 16}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Return {name: array} of a model.bin: little-endian header, then (name, shape, type, bytes) records."""
    with path.open("rb") as file:

        def number(form: str) -> int:
            return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0]

        def text() -> str:
            return file.read(number("H")).rstrip(b"\0").decode()

        number("I"), text(), number("I")  # file version, model name, revision
        variables = {}
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            dtype, size = DTYPES[number("B")], number("I")
            variables[name] = np.frombuffer(file.read(size), dtype).reshape(shape)
        aliases = {text(): text() for _ in range(number("I"))}
    return variables | {alias: variables[target] for alias, target in aliases.items()}


def to_huggingface(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return {name in transformers' WhisperModel: tensor}; joint query-key-value matrices are split."""
    state: dict[str, Tensor] = {}

    def put(name: str, source: str, rows: slice = slice(None)) -> None:
        state[name] = torch.from_numpy(variables[source][rows].astype(np.float32))

    def linear(name: str, source: str, rows: slice = slice(None), bias: bool = True) -> None:
        put(f"{name}.weight", f"{source}/weight", rows)
        if bias:
            put(f"{name}.bias", f"{source}/bias", rows)

    def norm(name: str, source: str) -> None:
        put(f"{name}.weight", f"{source}/gamma")
        put(f"{name}.bias", f"{source}/beta")

    def attention(name: str, source: str, joint: tuple[str, ...]) -> None:
        width = variables[f"{source}/linear_0/weight"].shape[1]
        for k, letter in enumerate(joint):
            linear(f"{name}.{letter}_proj", f"{source}/linear_0", slice(k * width, (k + 1) * width), letter != "k")
        if joint == ("q",):
            for k, letter in enumerate("kv"):
                linear(f"{name}.{letter}_proj", f"{source}/linear_1", slice(k * width, (k + 1) * width), letter != "k")
        linear(f"{name}.out_proj", f"{source}/linear_{1 if len(joint) == 3 else 2}")

    linear("encoder.conv1", "encoder/conv1")
    linear("encoder.conv2", "encoder/conv2")
    put("decoder.embed_tokens.weight", "decoder/embeddings/weight")
    for side in ("encoder", "decoder"):
        put(f"{side}.embed_positions.weight", f"{side}/position_encodings/encodings")
        norm(f"{side}.layer_norm", f"{side}/layer_norm")
        for i in range(count_layers(variables, side)):
            source, target = f"{side}/layer_{i}", f"{side}.layers.{i}"
            norm(f"{target}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            attention(f"{target}.self_attn", f"{source}/self_attention", ("q", "k", "v"))
            if side == "decoder":
                norm(f"{target}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
                attention(f"{target}.encoder_attn", f"{source}/attention", ("q",))
            norm(f"{target}.final_layer_norm", f"{source}/ffn/layer_norm")
            linear(f"{target}.fc1", f"{source}/ffn/linear_0")
            linear(f"{target}.fc2", f"{source}/ffn/linear_1")
    return state


def count_layers(variables: dict[str, np.ndarray], side: str) -> int:
    """Return the number of layers of the encoder or the decoder.

    side: "encoder" or "decoder"."""
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and "/ffn/" in name})


def convert(source: Path, folder: Path) -> None:
    """Convert a CTranslate2 file to a Hugging Face folder with config.json and model.safetensors of a WhisperModel.

    source: the model.bin; folder: where both files are written."""
    from transformers import WhisperConfig, WhisperModel

    variables = read_variables(source)
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    heads = HEADS[width]
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=count_layers(variables, "encoder"),
        decoder_layers=count_layers(variables, "decoder"),
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
    )
    model = WhisperModel(config)
    model.load_state_dict(to_huggingface(variables), strict=True)
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
