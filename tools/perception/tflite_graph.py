"""Read a .tflite file -> the `Graph` and the constants that stereotalker_core.perception runs.

Needs the package `tflite` (the file format's schema; `pip install -e '.[train]'`). Constants keep the precision of the
file; sparse ones are made dense; arrays with four axes are converted from channels last to channels first."""

from dataclasses import replace
from typing import Any

import numpy as np
import tflite

from stereotalker_core.perception.graph_network import Graph, Step

BUILTIN = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
ACTIVATIONS = {0: "", 1: "relu", 3: "relu6"}
CHANNELS_FIRST = (0, 3, 1, 2)
AXIS = (0, 2, 3, 1)  # where an axis of a channels-last array lies in ours
PLAIN = {
    "LOGISTIC": "sigmoid",
    "RELU": "relu",
    "HARD_SWISH": "hard_swish",
    "SQRT": "sqrt",
    "RSQRT": "rsqrt",
    "NEG": "negative",
}
PAIRS = {
    "ADD": ("add", tflite.AddOptions),
    "SUB": ("subtract", tflite.SubOptions),
    "MUL": ("multiply", tflite.MulOptions),
    "DIV": ("divide", tflite.DivOptions),
    "SQUARED_DIFFERENCE": ("squared_difference", None),
}


def read_graph(data: bytes, name: str) -> tuple[Graph, dict[str, np.ndarray]]:
    """Return the graph and {name: constant array} of a file with one subgraph and one input.

    data: the file's bytes; name: what the network is called. ValueError for an operation that is not translated."""
    return _Reader(data, name).read()


class _Reader:
    """The state of the translation of one file: its tensors, and the constants collected so far."""

    def __init__(self, data: bytes, name: str) -> None:
        model = tflite.Model.GetRootAs(data, 0)
        self.name, self.graph = name, model.Subgraphs(0)
        if model.SubgraphsLength() != 1 or self.graph.InputsLength() != 1:
            raise ValueError(f"{name}: one subgraph with one input is expected")
        self.codes = [_code(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
        self.arrays: dict[int, np.ndarray] = {}
        for i in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(i)
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                flat = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
                shape, sparsity = self.shape(i), tensor.Sparsity()
                self.arrays[i] = flat.reshape(shape) if sparsity is None else dense(flat, shape, sparsity)
        self.alias: dict[int, int] = {}  # a tensor that is another one, only stored in another way
        self.numbers = {self.graph.Inputs(0): 0}
        self.constants: dict[str, np.ndarray] = {}

    def read(self) -> tuple[Graph, dict[str, np.ndarray]]:
        steps = []
        for k in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(k)
            step = self.translate(operator)
            if step is not None:
                number = self.numbers.setdefault(operator.Outputs(0), len(self.numbers))
                steps.append(replace(step, output=number))
        outputs = [self.graph.Outputs(i) for i in range(self.graph.OutputsLength())]
        inward = self.shape(self.graph.Inputs(0))
        graph = Graph(
            self.name,
            tuple(inward[a] for a in CHANNELS_FIRST)[1:] if len(inward) == 4 else tuple(inward[1:]),
            tuple(steps),
            tuple(self.numbers[self.real(i)] for i in outputs),
            tuple(self.graph.Tensors(i).Name().decode() for i in outputs),
            {key: list(value.shape) for key, value in self.constants.items()},
        )
        return graph, self.constants

    def shape(self, tensor: int) -> list[int]:
        record = self.graph.Tensors(tensor)
        return record.ShapeAsNumpy().tolist() if record.ShapeLength() else []

    def real(self, tensor: int) -> int:
        while tensor in self.alias:
            tensor = self.alias[tensor]
        return tensor

    def array(self, tensor: int) -> np.ndarray:
        return self.arrays[self.real(tensor)]

    def keep(self, tensor: int, order: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None) -> str:
        """Store a constant -> the name under which it is stored.

        tensor: its number in the file; order: the order of its axes in the result, None as they are; shape: to which it
            is reshaped before that, None as it is."""
        value = self.array(tensor)
        value = value.reshape(shape) if shape is not None else value
        value = np.ascontiguousarray(value.transpose(order) if order else value)
        key = f"c{self.real(tensor)}"
        while key in self.constants and not np.array_equal(self.constants[key], value):
            key += "_"  # one constant in two layouts
        self.constants[key] = value
        return key

    def value(self, tensor: int, axes: int = 0) -> int | str:
        """Return what a step of the graph refers to: the number of a computed value, or the name of a stored constant.

        tensor: its number in the file; axes: number of axes of the other operand; with 4, a constant gets 4 axes as
            well."""
        tensor = self.real(tensor)
        if tensor not in self.arrays:
            return self.numbers[tensor]
        shape = self.arrays[tensor].shape
        if axes == 4 or len(shape) == 4:
            return self.keep(tensor, CHANNELS_FIRST, (1,) * (4 - len(shape)) + shape)
        return self.keep(tensor)

    def translate(self, operator) -> Step | None:
        """Translate one operator to a step of the graph; None where nothing is to be computed. ValueError for an
        unknown operator."""
        code = self.codes[operator.OpcodeIndex()]
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        output = operator.Outputs(0)
        if code in ("DEQUANTIZE", "DENSIFY"):
            if self.real(inputs[0]) not in self.arrays:
                raise ValueError(f"{self.name}: {code} of a computed value")
            self.alias[output] = inputs[0]
            return None
        if code in PLAIN:
            return Step(PLAIN[code], (self.value(inputs[0]),), -1, {})
        if code in PAIRS:
            op, options = PAIRS[code]
            act = ACTIVATIONS[_options(operator, options).FusedActivationFunction()] if options else ""
            axes = len(self.shape(output))
            return Step(op, tuple(self.value(i, axes) for i in inputs), -1, {"activation": act} if act else {})
        method = getattr(self, f"read_{code.lower()}", None)
        if method is None:
            raise ValueError(f"{self.name}: {code} is not translated")
        return method(operator, inputs, output)

    def read_conv_2d(self, operator, inputs, output, options=tflite.Conv2DOptions, order=CHANNELS_FIRST) -> Step:
        o = _options(operator, options)
        settings = {
            "stride": [o.StrideH(), o.StrideW()],
            "dilation": [o.DilationHFactor(), o.DilationWFactor()],
            "same": o.Padding() == tflite.Padding.SAME,
            "activation": ACTIVATIONS[o.FusedActivationFunction()],
        }
        bias = self.keep(inputs[2]) if len(inputs) > 2 and inputs[2] >= 0 else None
        return Step("conv", (self.value(inputs[0]), self.keep(inputs[1], order), bias), -1, settings)

    def read_depthwise_conv_2d(self, operator, inputs, output) -> Step:
        if self.shape(inputs[0])[3] != self.shape(output)[3]:
            raise ValueError(f"{self.name}: a depthwise convolution that adds channels")
        return self.read_conv_2d(operator, inputs, output, tflite.DepthwiseConv2DOptions, (3, 0, 1, 2))

    def read_convolution2dtransposebias(self, operator, inputs, output) -> Step:
        stride = [a // b for a, b in zip(self.shape(output)[1:3], self.shape(inputs[0])[1:3], strict=True)]
        if stride != self.shape(inputs[1])[1:3]:
            raise ValueError(f"{self.name}: a transposed convolution whose kernel is not its stride")
        weight = self.keep(inputs[1], (3, 0, 1, 2))
        return Step("conv_transpose", (self.value(inputs[0]), weight, self.keep(inputs[2])), -1, {"stride": stride})

    def read_fully_connected(self, operator, inputs, output) -> Step:
        act = ACTIVATIONS[_options(operator, tflite.FullyConnectedOptions).FusedActivationFunction()]
        if len(self.shape(inputs[0])) != 2:
            raise ValueError(f"{self.name}: a fully connected layer over a picture")
        inward = (self.value(inputs[0]), self.keep(inputs[1]), self.keep(inputs[2]))
        return Step("linear", inward, -1, {"activation": act})

    def read_prelu(self, operator, inputs, output) -> Step:
        return Step("prelu", (self.value(inputs[0]), self.keep(inputs[1], shape=(-1,))), -1, {})

    def read_pad(self, operator, inputs, output) -> Step:
        (batch, rows, columns, channels) = self.array(inputs[1]).tolist()
        if any(batch):
            raise ValueError(f"{self.name}: padding of the batch")
        return Step("pad", (self.value(inputs[0]),), -1, {"pad": [*columns, *rows, *channels]})

    def read_max_pool_2d(self, operator, inputs, output, op="max_pool") -> Step:
        o = _options(operator, tflite.Pool2DOptions)
        stride, same = [o.StrideH(), o.StrideW()], o.Padding() == tflite.Padding.SAME
        settings = {"kernel": [o.FilterHeight(), o.FilterWidth()], "stride": stride, "same": same}
        settings["activation"] = ACTIVATIONS[o.FusedActivationFunction()]
        return Step(op, (self.value(inputs[0]),), -1, settings)

    def read_average_pool_2d(self, operator, inputs, output) -> Step:
        step = self.read_max_pool_2d(operator, inputs, output, "average_pool")
        if step.settings.pop("same") and step.settings["kernel"] != self.shape(inputs[0])[1:3]:
            raise ValueError(f"{self.name}: padded average pooling")
        return step

    def read_resize_bilinear(self, operator, inputs, output) -> Step:
        o = _options(operator, tflite.ResizeBilinearOptions)
        mode = "half" if o.HalfPixelCenters() else "corners" if o.AlignCorners() else "plain"
        return Step("resize", (self.value(inputs[0]),), -1, {"size": self.array(inputs[1]).tolist(), "mode": mode})

    def read_mean(self, operator, inputs, output, op="mean") -> Step:
        axes = self.array(inputs[1]).reshape(-1).tolist()
        rank, keep = len(self.shape(inputs[0])), bool(_options(operator, tflite.ReducerOptions).KeepDims())
        axes = [a % rank for a in axes]
        ours = [AXIS[a] if rank == 4 else a for a in axes]
        if rank == 4 and not keep and sorted(axes) != [1, 2]:
            raise ValueError(f"{self.name}: a mean that leaves no picture and no channels")
        return Step(op, (self.value(inputs[0]),), -1, {"axes": ours, "keep": keep})

    def read_sum(self, operator, inputs, output) -> Step:
        return self.read_mean(operator, inputs, output, "sum")

    def read_depth_to_space(self, operator, inputs, output) -> Step:
        block = _options(operator, tflite.DepthToSpaceOptions).BlockSize()
        return Step("depth_to_space", (self.value(inputs[0]),), -1, {"block": block})

    def read_reshape(self, operator, inputs, output) -> Step:
        before, after = self.shape(inputs[0]), self.shape(output)
        if before[0] != 1 or after[0] != 1:
            raise ValueError(f"{self.name}: a reshape that moves the batch")
        return Step("reshape", (self.value(inputs[0]),), -1, {"shape": after[1:]})

    def read_transpose(self, operator, inputs, output) -> Step:
        order = self.array(inputs[1]).tolist()
        if len(order) == 4:  # ours[AXIS[k]] of the new is ours[AXIS[order[k]]] of the old
            order = [AXIS[order[CHANNELS_FIRST[k]]] for k in range(4)]
        if order[0] != 0:
            raise ValueError(f"{self.name}: a transpose that moves the batch")
        return Step("transpose", (self.value(inputs[0]),), -1, {"order": order})

    def read_concatenation(self, operator, inputs, output) -> Step:
        rank = len(self.shape(output))
        axis = _options(operator, tflite.ConcatenationOptions).Axis() % rank
        axis = AXIS[axis] if rank == 4 else axis
        return Step("concatenate", tuple(self.value(i) for i in inputs), -1, {"axis": axis})

    def read_strided_slice(self, operator, inputs, output) -> Step | None:
        """Return a crop along some axes as a step, or None for one that only drops the batch axis of a single vector.
        """
        o = _options(operator, tflite.StridedSliceOptions)
        shape = self.shape(inputs[0])
        begin, end, stride = (self.array(i).tolist() for i in inputs[1:4])
        if set(stride) != {1} or o.ShrinkAxisMask() not in (0, 1) or o.NewAxisMask() or o.EllipsisMask():
            raise ValueError(f"{self.name}: a slice that is no crop")
        ranges = []
        for k, size in enumerate(shape):
            first = 0 if o.BeginMask() >> k & 1 else begin[k] % size
            last = size if o.EndMask() >> k & 1 else end[k] + size * (end[k] < 0)
            if (first, last) != (0, size):
                ranges.append([AXIS[k] if len(shape) == 4 else k, [first, min(last, size)]])
        if not ranges:
            self.alias[output] = inputs[0]
            return None
        return Step("crop", (self.value(inputs[0]),), -1, {"ranges": ranges})


def dense(values: np.ndarray, shape: list[int], sparsity) -> np.ndarray:
    """Map TensorFlow Lite's block-sparse layout (schema.fbs, SparsityParameters) -> an ordinary array."""
    order = sparsity.TraversalOrderAsNumpy().tolist()
    blocks = sparsity.BlockMapAsNumpy().tolist() if sparsity.BlockMapLength() else []
    levels = [sparsity.DimMetadata(i) for i in range(sparsity.DimMetadataLength())]
    side = [1] * len(shape)
    for j, axis in enumerate(blocks):
        side[axis] = levels[len(shape) + j].DenseSize()
    index = np.zeros((1, len(shape)), int)  # of every stored number so far, level by level
    place = np.zeros(1, int)  # its row in the level's segments
    for level, target in zip(levels, order, strict=True):
        axis, step = (target, side[target]) if target < len(shape) else (blocks[target - len(shape)], 1)
        if level.Format() == tflite.DimensionType.DENSE:
            size = level.DenseSize()
            along = np.tile(np.arange(size), len(place))
            index, place = np.repeat(index, size, 0), np.repeat(place, size) * size + along
        else:
            start = _integers(level.ArraySegments(), level.ArraySegmentsType())
            stored = _integers(level.ArrayIndices(), level.ArrayIndicesType())
            count = start[place + 1] - start[place]
            within = np.concatenate([np.arange(start[p], start[p + 1]) for p in place])
            index, place, along = np.repeat(index, count, 0), within, stored[within]
        index[:, axis] += along * step
    out = np.zeros(shape, values.dtype)
    out[tuple(index.T)] = values[place]
    return out


def _integers(table, kind: int) -> np.ndarray:
    vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]
    vector = vector() if isinstance(vector, type) else getattr(vector, vector.__name__.split(".")[-1])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(int)


def _options(operator, kind) -> Any:
    options, table = kind(), operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _code(code) -> str:
    name = BUILTIN[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return code.CustomCode().decode() if name == "CUSTOM" else name
