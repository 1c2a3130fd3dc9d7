"""A node for the tests' servers alone: a GLB file as core's MESH, at a time of its animation, by the tests' reader."""

import importlib.util
from pathlib import Path

READER = Path(__file__).resolve().parents[2] / "motion" / "files" / "gltf_reader.py"


class ReadGlb:
    RETURN_TYPES = ("MESH",)
    FUNCTION = "read"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING", {"forceInput": True}), "seconds": ("FLOAT", {"default": 0.0})}}

    def read(self, path: str, seconds: float):
        import torch
        from comfy_api.latest import Types

        spec = importlib.util.spec_from_file_location("gltf_reader", READER)
        reader = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(reader)
        file = reader.Gltf(Path(path))
        primitive = file.json["meshes"][0]["primitives"][0]
        triangles = file.array(primitive["indices"]).reshape(-1, 3)
        uv = file.array(primitive["attributes"]["TEXCOORD_0"])
        vertices, corners = torch.from_numpy(file.vertices(seconds)), torch.from_numpy(uv)
        mesh = Types.MESH(
            vertices.float()[None],
            torch.from_numpy(triangles).long()[None],
            uvs=corners.float()[None],
            texture=torch.from_numpy(file.texture()).float()[None],
        )
        return (mesh,)


NODE_CLASS_MAPPINGS = {"TestReadGlb": ReadGlb}
