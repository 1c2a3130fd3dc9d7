"""The 52 ARKit expression names in the order of `Motion.expression` (alphabetical, as in the body asset)."""

ARKIT = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *("eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)
ARKIT_INDEX = {name: i for i, name in enumerate(ARKIT)}
MOUTH = tuple(i for i, name in enumerate(ARKIT) if name.startswith(("jaw", "mouth", "tongue")))
EYES = tuple(i for i, name in enumerate(ARKIT) if name.startswith("eye"))
BLINK = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])


def mirrored_expressions() -> list[int]:
    """Return the index of the left-right counterpart of each expression."""
    swapped = []
    for name in ARKIT:
        other = name
        for a, b in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(a):
                other = name[: -len(a)] + b
        swapped.append(ARKIT_INDEX[other])
    return swapped
