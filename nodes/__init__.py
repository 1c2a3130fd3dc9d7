"""The pack's nodes (V1 classes: they run without ComfyUI). One file per group; ids are API, never renamed."""

from . import bake, camera, face, guides, host, load, motion, portrait, simple, speech, video

_FILES = (simple, load, speech, motion, portrait, camera, guides, video, face, bake)

host.register_model_folder()
NODE_CLASS_MAPPINGS = {name: cls for file in _FILES for name, cls in file.NODES.items()}
NODE_DISPLAY_NAME_MAPPINGS = {name: cls.DISPLAY_NAME for name, cls in NODE_CLASS_MAPPINGS.items()}
