"""ComfyUI-StereoTalker: one portrait and speech -> a talking half-body video, seen from any camera yaw."""

if __package__:  # imported as a package: by ComfyUI, or by the graph runner of the tests
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    WEB_DIRECTORY = "./js"
    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
