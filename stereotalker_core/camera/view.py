"""Where the camera stands and the canvas it draws on: the settings of every camera path, with their limits and texts.
"""

from dataclasses import dataclass

from ..body.model import HalfBody
from ..options import check_limits, choice, option
from ..records import Cameras, Identity, Motion
from .gestures import HANDS, widened
from .trajectories import FACTORS, MODES, ORIGINS, framing_for, keyframes, orbit

SIZES = (128, 1024)  # pixels
LARGEST = 512  # pixels of the longer side where no size is asked for
SIZE_STEP = 8  # pixels; the renderer draws the next multiple of 64 and cuts it to size
ASPECTS = {"1:1": 1.0, "4:5": 4 / 5, "9:16": 9 / 16, "16:9": 16 / 9}  # width over height; "photo": the photograph's own
AUTO_HANDS = "auto: gestures where the frame shows the body down to the elbows"
_YAW = (
    "Degrees. 0 = the portrait's own view, positive = the camera moves towards the subject's right side. "
    "Trained range -90..90."
)


def _stepped(side: float) -> int:
    return max(SIZES[0], SIZE_STEP * round(side / SIZE_STEP))


@dataclass(frozen=True)
class View:
    """The settings of the camera and its canvas.

    yaw: degrees; until_yaw: yaw of the last frame of an orbit, None: the camera stands still; pitch: degrees.
    framing: see `framing_for`.
    size: px of a square, or (height, width); with an aspect, px of the shorter side. None: the photograph's shape (or
        the aspect) and resolution, with at most LARGEST px a side.
    yaw_origin: "photo": yaw 0 is the photograph's own view; "body": it faces the front of the body.
    aspect: "1:1", "4:5", "9:16", "16:9" or "photo", the photograph's own.
    hands: "on": gestures; "off": arms at rest; "auto": gestures where the frame shows the body down to the elbows.
    keys: [(frame, yaw, pitch, distance factor)] for `trajectories.keyframes`, in place of yaw and until_yaw; () = none.
    distance: factor on the usual distance, and on the metres that the frame shows."""

    yaw: float = option(0.0, -180, 180, _YAW, step=0.5, unit="degrees")
    until_yaw: float | None = option(None, -180, 180, "Yaw of the last frame of an orbit.", step=0.5, unit="degrees")
    pitch: float = option(
        0.0, -60, 60, "Degrees; positive = the camera is above. Trained range -8..8.", (-45, 45), 0.5, "degrees"
    )
    framing: str = choice("auto", MODES, "auto: the portrait's own crop, with room for its hands.")
    size: int | tuple[int, int] | None = None
    yaw_origin: str = choice(
        "photo",
        ORIGINS,
        "photo: yaw 0 is the portrait's own view; body: yaw 0 sees the front of the body, also where it was turned.",
    )
    aspect: str | None = choice(None, (*ASPECTS, "photo"), "Width to height, with a size of one number.")
    hands: str = choice("auto", HANDS, f"on: gestures; off: arms at rest; {AUTO_HANDS}.")
    keys: tuple[tuple[int, float, float, float], ...] = ()
    distance: float = option(1.0, *FACTORS, "Factor on the usual distance.", (0.5, 2.0), 0.05)

    def __post_init__(self) -> None:
        check_limits(self)
        if self.aspect is not None and isinstance(self.size, tuple):
            raise ValueError(f"an aspect goes with a size of one number, got {self.size}")
        self.canvas((LARGEST, LARGEST))

    @property
    def end_yaw(self) -> float:
        """Return the yaw at the end of the clip, in degrees."""
        return self.yaw if self.until_yaw is None else self.until_yaw

    def canvas(self, photo: tuple[int, int]) -> tuple[int, int]:
        """Return the size (height, width) px of the video for a photograph (H, W). ValueError for sides out of range.
        """
        wide = photo[1] / photo[0] if self.aspect == "photo" or self.size is None else 1.0
        wide = ASPECTS.get(self.aspect or "photo", wide)
        if isinstance(self.size, tuple):
            height, width = self.size
        elif self.size is None:
            longer = _stepped(min(LARGEST, max(photo)))
            narrower = _stepped(longer * min(wide, 1 / wide))
            height, width = (narrower, longer) if wide >= 1 else (longer, narrower)
        else:
            longer = self.size if wide == 1 else _stepped(self.size * max(wide, 1 / wide))
            if self.aspect == "photo":  # of a very long photograph the ends stay out
                longer = min(longer, max(self.size, SIZES[1]))
            height, width = (self.size, longer) if wide >= 1 else (longer, self.size)
        if any(not SIZES[0] <= side <= SIZES[1] or side % SIZE_STEP for side in (height, width)):
            raise ValueError(
                f"size {width}x{height}: sides must be {SIZES[0]}..{SIZES[1]} px and multiples of {SIZE_STEP}"
            )
        return height, width

    def cameras(self, body: HalfBody, identity: Identity, frames: int, motion: Motion | None = None) -> Cameras:
        """Return one camera per frame around a person, as these settings say.

        body: the half body.
        identity: the person.
        frames: T, the length of the clip.
        motion: what the person performs; framing "auto" then leaves room for the hands. None leaves no such room."""
        framing = framing_for(body, identity, self.framing, self.yaw_origin)
        if motion is not None and self.framing == "auto" and self.hands != "off":
            framing = widened(framing, body, identity, motion)
        framing = framing if self.distance == 1 else framing.zoomed(self.distance)
        height, width = identity.portrait.shape[-2:]
        canvas = self.canvas((height, width))
        if self.keys:
            return keyframes(framing, frames, self.keys, canvas)
        return orbit(framing, frames, self.yaw, self.end_yaw, self.pitch, canvas)
