"""MediaPipe's networks as one module: the input and output of each, and the file that holds them.

All are by The MediaPipe Authors, Apache-2.0, converted (see NOTICE). Pictures are (B, 3, H, W); pixel coordinates in
the outputs count from the centre of the first pixel, so half a pixel of the crop must be added to them."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..checkpoint import NANO, load
from .graph_network import Graph, GraphNetwork

NETWORKS = {  # name: (range of the input, what it is for)
    "face_detection_short_range": ((-1.0, 1.0), "boxes and six points of large faces"),
    "face_detection_full_range_sparse": ((-1.0, 1.0), "boxes and six points of small faces"),
    "face_landmarks_detector": ((0.0, 1.0), "478 points of a face with irises, presence"),
    "face_blendshapes": ((0.0, 256.0), "146 face points -> 52 expression coefficients"),
    "pose_detection": ((-1.0, 1.0), "boxes, centre and size of bodies"),
    "pose_landmark_full": ((0.0, 1.0), "33 body points with visibility, presence, mask of one person"),
    "palm_detection_full": ((0.0, 1.0), "boxes and seven points of palms"),
    "hand_landmark_full": ((0.0, 1.0), "21 hand points, presence, handedness"),
    "hand_recrop": ((0.0, 1.0), "a better square for the hand at a wrist"),
    "selfie_segmentation": ((0.0, 1.0), "mask of everybody near the camera"),
}


class Perception(nn.Module):
    """The bundle of all perception networks: one child module for each name in `NETWORKS`."""

    @dataclass(frozen=True)
    class Config:
        """The graphs, in the order of `NETWORKS`."""

        graphs: tuple[Graph, ...]

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        names = [graph.name for graph in config.graphs]
        if names != list(NETWORKS):
            raise ValueError(f"the networks must be {', '.join(NETWORKS)}; got {', '.join(names)}")
        for graph in config.graphs:
            self.add_module(graph.name, GraphNetwork(graph))

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.buffers()).device

    def size(self, name: str) -> int:
        """Return the side in px of a network's square input."""
        return self.network(name).size

    def network(self, name: str) -> GraphNetwork:
        """Return the network of that name. AttributeError where there is none."""
        return cast(GraphNetwork, self.get_submodule(name))

    def run(self, name: str, pictures: Tensor) -> list[Tensor]:
        """Run a network on pictures (B, 3, S, S) in [0, 1], scaled to its own range -> its outputs."""
        low, high = NETWORKS[name][0]
        return self.network(name)(pictures if (low, high) == (0.0, 1.0) else pictures * (high - low) + low)


def load_perception(device: str | torch.device = "cpu") -> Perception:
    """Load the networks that ship with the package, in float32."""
    return load(Perception, NANO / "perception.safetensors", str(device))
