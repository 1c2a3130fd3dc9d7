"""A second, plain reader of GLB files for the tests: numpy alone, one loop a rule of the glTF 2.0 specification."""

import io
import json
import struct

import numpy as np

KINDS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TYPES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}


class Gltf:
    """A GLB file in memory: its JSON, and arrays of its accessors."""

    def __init__(self, path):
        raw = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", raw)
        assert magic == b"glTF" and version == 2 and length == len(raw)
        size, kind = struct.unpack_from("<I4s", raw, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.json = json.loads(raw[20 : 20 + size])
        binary, kind = struct.unpack_from("<I4s", raw, 20 + size)
        assert kind == b"BIN\0" and binary % 4 == 0
        self.data = raw[28 + size : 28 + size + binary]
        assert 0 <= len(self.data) - self.json["buffers"][0]["byteLength"] < 4

    def _view(self, index: int, kind: str, count: int) -> np.ndarray:
        view = self.json["bufferViews"][index]
        return np.frombuffer(self.data, kind, count, view["byteOffset"])

    def array(self, index: int) -> np.ndarray:
        """(count, components) of an accessor; sparse ones filled in."""
        row = self.json["accessors"][index]
        width, kind = KINDS[row["type"]], TYPES[row["componentType"]]
        out = np.zeros((row["count"], width))
        if "bufferView" in row:
            out[:] = self._view(row["bufferView"], kind, row["count"] * width).reshape(-1, width)
        if "sparse" in row:
            sparse = row["sparse"]
            at = self._view(sparse["indices"]["bufferView"], TYPES[sparse["indices"]["componentType"]], sparse["count"])
            assert (np.diff(at.astype(np.int64)) > 0).all()  # strictly increasing, as the specification wants
            values = self._view(sparse["values"]["bufferView"], kind, sparse["count"] * width)
            out[at] = values.reshape(-1, width)
        if "min" in row:
            assert np.allclose(out.min(0), row["min"], atol=1e-6) and np.allclose(out.max(0), row["max"], atol=1e-6)
        return out

    def texture(self) -> np.ndarray:
        """(H, W, 3) in 0..1: the picture of the first material."""
        from PIL import Image

        view = self.json["bufferViews"][self.json["images"][0]["bufferView"]]
        raw = self.data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")) / 255

    def pose(self, seconds: float | None) -> tuple[dict[int, np.ndarray], np.ndarray]:
        """Rotations by node and morph weights at a time of the animation; None: as the file rests."""
        turned = {i: np.array(n.get("rotation", [0, 0, 0, 1.0])) for i, n in enumerate(self.json["nodes"])}
        weights = np.array(self.json["meshes"][0]["weights"])
        if seconds is None:
            return turned, weights
        animation = self.json["animations"][0]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            values = values.reshape(len(times), -1)
            k = int(np.clip(np.searchsorted(times, seconds, "right") - 1, 0, max(0, len(times) - 2)))
            nxt = min(k + 1, len(times) - 1)
            share = np.clip((seconds - times[k]) / max(times[nxt] - times[k], 1e-9), 0, 1)
            if channel["target"]["path"] == "weights":
                weights = (1 - share) * values[k] + share * values[nxt]
            else:
                turned[channel["target"]["node"]] = slerp(values[k], values[nxt], share)
        return turned, weights

    def vertices(self, seconds: float | None = None) -> np.ndarray:
        """(R, 3) skinned vertices at a time."""
        turned, weights = self.pose(seconds)
        primitive = self.json["meshes"][0]["primitives"][0]
        points = self.array(primitive["attributes"]["POSITION"])
        for weight, target in zip(weights, primitive["targets"], strict=True):
            points = points + weight * self.array(target["POSITION"])
        matrices: dict[int, np.ndarray] = {}

        def visit(node: int, above: np.ndarray) -> None:
            row = self.json["nodes"][node]
            own = np.eye(4)
            own[:3, :3], own[:3, 3] = matrix(turned[node]), row.get("translation", [0, 0, 0])
            matrices[node] = above @ own
            for child in row.get("children", []):
                visit(child, matrices[node])

        for node in self.json["scenes"][0]["nodes"]:
            visit(node, np.eye(4))
        skin = self.json["skins"][0]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([matrices[node] for node in skin["joints"]]) @ inverse
        named = self.array(primitive["attributes"]["JOINTS_0"]).astype(int)
        share = self.array(primitive["attributes"]["WEIGHTS_0"])
        assert np.allclose(share.sum(1), 1, atol=1e-5)
        blended = (joints[named] * share[..., None, None]).sum(1)
        return (blended @ np.concatenate([points, np.ones((len(points), 1))], 1)[..., None])[:, :3, 0]


def matrix(quaternion: np.ndarray) -> np.ndarray:
    """x, y, z, w -> (3, 3)."""
    assert abs(np.linalg.norm(quaternion) - 1) < 1e-5
    x, y, z, w = quaternion
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Between two unit quaternions, the short way."""
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    if cosine > 0.9999:
        mixed = (1 - share) * a + share * b
        return mixed / np.linalg.norm(mixed)
    angle = np.arccos(cosine)
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
