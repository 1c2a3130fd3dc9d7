"""Record what the original runtime (LiteRT) computes with MediaPipe's networks, for tests/perception/test_parity.py.

    pip install ai-edge-litert==2.3.0 numpy
    python tools/perception/record_perception.py FOLDER_OF_TFLITE_FILES tests/data/perception/litert.npz
Inputs are pictures from formulas, so that only outputs are stored: of large ones every n-th number.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

FORMULA = Path(__file__).resolve().parents[2] / "tests" / "perception" / "formula_inputs.py"
LARGEST = 700  # numbers kept of one output


def main() -> None:
    """Run every network on its inputs and write the outputs as one .npz.

    Each output is an array NETWORK.INPUT.OUTPUT; beside it are .range (largest minus smallest value) and .step (every
    step-th number is stored)."""
    from ai_edge_litert.interpreter import Interpreter

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where NETWORK.tflite files lie")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("formula_inputs", FORMULA)
    formulas = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formulas)
    kept = {}
    for file in sorted(args.folder.rglob("*.tflite")):
        if file.stem not in formulas.RANGES:
            continue
        interpreter = Interpreter(str(file), num_threads=1)
        interpreter.allocate_tensors()
        (inward,) = interpreter.get_input_details()
        for number in range(formulas.COUNT):
            value = formulas.network_input(file.stem, number, tuple(inward["shape"]))
            interpreter.set_tensor(inward["index"], value)
            interpreter.invoke()
            for k, details in enumerate(interpreter.get_output_details()):
                out = interpreter.get_tensor(details["index"]).astype(np.float32)
                step = max(1, out.size // LARGEST) | 1  # odd: visits every channel
                key = f"{file.stem}.{number}.{k}"
                kept[key] = out.reshape(-1)[::step]
                kept[f"{key}.range"] = np.float32(out.max() - out.min())
                kept[f"{key}.step"] = np.int32(step)
                print(key, out.shape, f"{out.min():.3f} .. {out.max():.3f}")
    np.savez_compressed(args.out, **kept)
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
