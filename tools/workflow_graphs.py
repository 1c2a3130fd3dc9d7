"""The example graphs and subgraph blueprints of the pack, as short descriptions; make_workflows.py draws them."""

from dataclasses import dataclass, field

ANYWHERE = (
    "It runs as it is: *Example Inputs* gives a person and a sentence. For your own, replace it by **Load "
    "Image** (one person from the front, half body) and **Load Audio**; without a mask one is estimated."
)
MASK = (
    " A `mask` is white where the person is; Load Image's is the other way round, which is recognised and said on the "
    "node, with the quality of the fit."
)
DISCLOSE = (
    "Use portraits and voices only with the person's consent, and label what you publish. Saved files carry a "
    "synthetic-media entry in their metadata; *Synthetic Media Label* draws a visible one."
)


@dataclass
class Row:
    """The description of one node: name, class, widget values other than the defaults, links into it, and (at) its
    section and column where these are unusual."""

    name: str
    kind: str
    values: dict = field(default_factory=dict)
    wires: dict[str, str] = field(default_factory=dict)  # input -> "name:output"
    at: tuple[str, int] | None = None


class Graph:
    """The nodes of an example graph in the order they are added, and its notes."""

    def __init__(self, *notes: str) -> None:
        self.rows: list[Row] = []
        self.notes = list(notes)

    def add(self, name: str, kind: str, values: dict | None = None, **wires: str) -> str:
        self.rows.append(Row(name, kind, values or {}, wires))
        return name

    def inputs(self) -> None:
        self.add("example", "StereoTalkerExampleInputs")

    def person(self) -> None:
        self.add("fit", "StereoTalkerFitPortrait", image="example:image", mask="example:mask")

    def performance(self) -> None:
        self.add("encoder", "StereoTalkerLoadAudioEncoder")
        self.add("motion_model", "StereoTalkerLoadMotionModel")
        self.add("heard", "StereoTalkerEncodeSpeech", audio_encoder="encoder:audio_encoder", audio="example:audio")
        self.add(
            "motion", "StereoTalkerSampleMotion", motion_model="motion_model:motion_model", speech="heard:speech"
        )  # fmt: skip

    def networks(self) -> None:
        self.add("renderer", "StereoTalkerLoadRenderer")
        self.add("view", "StereoTalkerLoadViewMoE", model="renderer:model")
        self.add("regions", "StereoTalkerLoadMaskMoE", model="view:model")
        self.add("predictor", "StereoTalkerLoadMaskPredictor")

    def everything(self) -> None:
        self.inputs()
        self.person()
        self.performance()
        self.networks()

    def camera(self, name: str = "camera", motion: str = "motion:motion", **values: object) -> None:
        self.add(name, "StereoTalkerCameraTrajectory", values, identity="fit:identity", motion=motion)

    def render(self, name: str = "render", cameras: str = "camera:cameras", **values: object) -> None:
        self.add(
            name, "StereoTalkerRenderVideo", values, model="regions:model", vae="renderer:vae",
            identity="fit:identity", motion="motion:motion", cameras=cameras, mask_predictor="predictor:mask_predictor",
        )  # fmt: skip

    def stitch(self, name: str, first: str, second: str, direction: str = "right") -> str:
        self.add(name, "ImageStitch", {"direction": direction}, image1=first, image2=second)
        return f"{name}:IMAGE"

    def grid(self, name: str, pictures: list[list[str]], places: list[tuple[str, int]] | None = None) -> str:
        """Add Image Stitch nodes that arrange rows of pictures in a grid -> link of the resulting picture.

        places: (section, column) of the nodes of each row."""
        lines = []
        for i, (line, *others) in enumerate(pictures):
            for j, other in enumerate(others):
                line = self.stitch(f"{name}_{i}_{j}", line, other)
                self.rows[-1].at = places and places[i]
            lines.append(line)
        whole, *others = lines
        for i, other in enumerate(others):
            whole = self.stitch(f"{name}_{i}", whole, other, "down")
        return whole

    def save(self, images: str, fps: str | None = None, audio: str = "example:audio") -> None:
        rate = {} if fps is None else {"fps": fps}
        self.add("video", "CreateVideo", {"fps": 25.0}, images=images, audio=audio, **rate)
        self.add("save", "SaveVideo", {"filename_prefix": "video/StereoTalker"}, video="video:VIDEO")


def simple() -> Graph:
    g = Graph("## A talking person in one node\nChoose the yaw, queue. " + ANYWHERE + MASK, DISCLOSE)
    g.inputs()
    g.add("talk", "StereoTalker", {"yaw": 20.0}, image="example:image", mask="example:mask", audio="example:audio")
    g.rows[-1].wires["transcript"] = "example:transcript"
    g.save("talk:images", "talk:fps", "talk:audio")
    return g


def expert() -> Graph:
    g = Graph(
        "## Both stages apart\nSpeech -> motion, then motion + person + camera -> video. Change the camera and only "
        "guides and rendering run again; change the seed of *Sample Motion* for another performance. " + ANYWHERE,
        "Strength 0 of *Load View-MoE* or *Load Mask-MoE* is the renderer without those experts.",
    )
    g.everything()
    g.camera(path="orbit", yaw=-40.0, end_yaw=40.0)
    g.add(
        "guides", "StereoTalkerRenderGuides", identity="fit:identity", motion="motion:motion", cameras="camera:cameras"
    )  # fmt: skip
    g.add("masks", "StereoTalkerPredictMasks", mask_predictor="predictor:mask_predictor", guides="guides:guides")
    g.render()
    g.add("mask_image", "MaskToImage", mask="masks:person")
    both = g.stitch("both", "render:images", "mask_image:IMAGE")
    g.save(g.stitch("all", both, "guides:normal"), "render:fps")
    return g


def orbit() -> Graph:
    g = Graph(
        "## Orbit\nThe camera goes around the speaker. Drag the two ends in *Camera Trajectory*, or choose path "
        "*keyframes* and double-click. " + ANYWHERE
    )
    g.everything()
    g.camera(path="orbit (ease in and out)", yaw=-60.0, end_yaw=60.0)
    g.render()
    g.save("render:images", "render:fps")
    return g


def keyframes() -> Graph:
    g = Graph(
        "## Keyframed camera\n**0%: -30, 50%: 30 5 0.9, 100%: -10**: time, yaw, and optionally pitch and distance. "
        + ANYWHERE
    )
    g.everything()
    g.camera(path="keyframes", keyframes="0%: -30, 50%: 30 5 0.9, 100%: -10")
    g.render()
    g.save("render:images", "render:fps")
    return g


def yaw_sweep() -> Graph:
    g = Graph("## One performance from four sides\nThe motion is sampled once; every camera renders it. " + ANYWHERE)
    g.everything()
    yaws = (-60.0, -20.0, 20.0, 60.0)
    for i, yaw in enumerate(yaws):
        g.camera(f"camera{i}", yaw=yaw)
        g.rows[-1].at = ("Camera", i % 2)
        g.render(f"render{i}", f"camera{i}:cameras")
        g.rows[-1].at = ("Rendering", i % 2)
    pictures = [f"render{i}:images" for i in range(len(yaws))]
    g.save(g.grid("grid", [pictures[:2], pictures[2:]]), "render0:fps")
    return g


def stereo_pair() -> Graph:
    g = Graph(
        "## Stereo pair, side by side\nThe left and the right eye of one camera, 63 mm apart, with one seed. For "
        "cross-eyed viewing swap the inputs of *Image Stitch*. " + ANYWHERE
    )
    g.everything()
    g.camera(yaw=15.0)
    g.add("eyes", "StereoTalkerStereoCameraPair", cameras="camera:cameras")
    g.render("left", "eyes:left")
    g.render("right", "eyes:right")
    g.save(g.stitch("pair", "left:images", "right:images"), "left:fps")
    return g


def motion_export() -> Graph:
    g = Graph(
        "## Motion only\nNo renderer: sample, edit, look at it, keep it, export it (BVH: Blender; CSV: "
        "Live Link Face tools). *Load Motion* reads the saved file in another graph. " + ANYWHERE
    )
    g.inputs()
    g.performance()
    g.add("edit", "StereoTalkerEditMotion", {"hands_strength": 1.2, "smoothing": 0.5}, motion="motion:motion")
    g.add("keep", "StereoTalkerSaveMotion", motion="edit:motion")
    g.add("bvh", "StereoTalkerExportMotion", {"format": "BVH"}, motion="edit:motion")
    g.add("csv", "StereoTalkerExportMotion", {"format": "Live Link Face CSV"}, motion="edit:motion")
    g.add("look", "StereoTalkerPreviewMotion", {"yaw": 15.0}, motion="edit:motion")
    g.save("look:images", "look:fps")
    return g


def guides() -> Graph:
    g = Graph(
        "## Guides for other models\nNormal, depth, OpenPose skeleton and the carried-over portrait, frame by frame: "
        "connect *skeleton* or *depth* to a ControlNet, an AnimateAnyone or MimicMotion node, or a Wan control video. "
        + ANYWHERE,
        "The stitched video is only for looking at: take the single outputs of *Render Guides*.",
    )
    g.inputs()
    g.person()
    g.performance()
    g.camera(yaw=25.0)
    g.add(
        "guides", "StereoTalkerRenderGuides", identity="fit:identity", motion="motion:motion", cameras="camera:cameras"
    )  # fmt: skip
    maps = [["guides:skeleton", "guides:depth"], ["guides:normal", "guides:lift"]]
    g.save(g.grid("grid", maps))
    return g


def upscale() -> Graph:
    g = Graph(
        "## Render, then enlarge\n*Upscale Image By* needs no model; for sharper pictures put *Upscale Image (using "
        "Model)* with one of your upscalers in its place. " + ANYWHERE
    )
    g.everything()
    g.camera(yaw=20.0)
    g.render()
    g.add("larger", "ImageScaleBy", {"upscale_method": "lanczos", "scale_by": 2.0}, image="render:images")
    g.save("larger:IMAGE", "render:fps")
    return g


def new_background() -> Graph:
    g = Graph(
        "## Another background, by the mask\nThe predicted mask of every frame cuts the person out. Replace "
        "*EmptyImage* by **Load Image**, or connect a picture to *background_image* of Render Video. " + ANYWHERE
    )
    g.everything()
    g.camera(yaw=-20.0)
    g.render(background="grey")  # its edge shows less than the portrait's own background
    g.add("behind", "EmptyImage", {"width": 256, "height": 256, "color": 0x2D5F8B})
    g.add("outside", "InvertMask", mask="render:mask")
    g.add("edge", "GrowMask", {"expand": 1}, mask="outside:MASK")  # pixels of the edge still hold the old background
    g.add(
        "composite", "ImageCompositeMasked", {"resize_source": True}, destination="render:images",
        source="behind:IMAGE", mask="edge:MASK",
    )  # fmt: skip
    g.save("composite:IMAGE", "render:fps")
    return g


def ksampler() -> Graph:
    g = Graph(
        "## The stock KSampler\nThe renderer is a MODEL: any sampler of ComfyUI can drive it. cfg 1, euler, simple "
        "and few steps give the same frames as *Render Video*. VAE Decode takes the **vae of the conditioning node**. "
        + ANYWHERE
    )
    g.everything()
    g.camera(yaw=20.0)
    g.add(
        "told", "StereoTalkerConditioning", vae="renderer:vae", identity="fit:identity", motion="motion:motion",
        cameras="camera:cameras", mask_predictor="predictor:mask_predictor",
    )  # fmt: skip
    settings = {"steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    g.add(
        "sampler", "KSampler", settings, model="regions:model", positive="told:positive", negative="told:negative",
        latent_image="told:latent",
    )  # fmt: skip
    g.add("decode", "VAEDecode", samples="sampler:LATENT", vae="told:vae")
    g.save("decode:IMAGE", "told:fps")
    return g


def long_video() -> Graph:
    g = Graph(
        "## Long speech, straight into a file\nFrames are written as they come: memory does not grow with the length, "
        "and a cancelled run leaves a video that plays. " + ANYWHERE,
        DISCLOSE,
    )
    g.everything()
    g.camera(path="orbit (ease in and out)", yaw=-25.0, end_yaw=25.0)
    g.add(
        "file", "StereoTalkerRenderToFile", {"label": True}, model="regions:model", vae="renderer:vae",
        identity="fit:identity", motion="motion:motion", cameras="camera:cameras",
        mask_predictor="predictor:mask_predictor", audio="heard:audio",
    )  # fmt: skip
    return g


def emotional_face() -> Graph:
    g = Graph(
        "## Emotional faces (ProbTalk3D)\nRows: happy, angry. Columns: two performances of the same sentence. "
        "The lips agree, the rest of the face differs. *Merge Face into Motion* puts one of them on a sampled motion. "
        + ANYWHERE
    )
    g.inputs()
    g.add("face_model", "StereoTalkerLoadProbTalk3D")
    g.rows[-1].at = ("Portrait and speech", 0)
    emotions, pictures = ("happy", "angry"), []
    for emotion in emotions:
        values = {"emotion": emotion, "intensity": "high", "samples": 2, "seed": 1}
        heard = {"face_model": "face_model:face_model", "audio": "example:audio"}
        g.add(emotion, "StereoTalkerSampleEmotionalFace", values, **heard)
        g.rows[-1].at = (emotion.title(), 0)
        line = []
        for sample in range(2):
            name = f"{emotion}{sample}"
            g.add(f"{name}_motion", "StereoTalkerFaceToMotion", {"sample": sample}, face=f"{emotion}:face")
            look = {"size": 256, "framing": "face"}
            g.add(f"{name}_look", "StereoTalkerPreviewMotion", look, motion=f"{name}_motion:motion")
            for row in g.rows[-2:]:
                row.at = (emotion.title(), 1 + sample)
            line.append(f"{name}_look:images")
        pictures.append(line)
    g.save(g.grid("grid", pictures, [(emotion.title(), 3) for emotion in emotions]), "happy0_look:fps")
    return g


def emotional_video() -> Graph:
    g = Graph(
        "## An emotional face on a talking person\nBody, head and gaze come from *Sample Motion*, lips, brows and "
        "cheeks from *Sample Emotional Face*: frame-exact, so lips stay in sync. " + ANYWHERE
    )
    g.everything()
    g.add("face_model", "StereoTalkerLoadProbTalk3D")
    values = {"emotion": "happy", "intensity": "high", "seed": 1}
    g.add("face", "StereoTalkerSampleEmotionalFace", values, face_model="face_model:face_model", audio="example:audio")
    g.add("merged", "StereoTalkerMergeFace", motion="motion:motion", face="face:face")
    g.camera(motion="merged:motion", framing="portrait")
    g.render()
    g.rows[-1].wires["motion"] = "merged:motion"
    g.save("render:images", "render:fps")
    return g


GRAPHS = {
    "stereotalker_01_simple": simple,
    "stereotalker_02_expert": expert,
    "stereotalker_03_orbit": orbit,
    "stereotalker_04_keyframes": keyframes,
    "stereotalker_05_yaw_sweep": yaw_sweep,
    "stereotalker_06_stereo_pair": stereo_pair,
    "stereotalker_07_motion_export": motion_export,
    "stereotalker_08_guides": guides,
    "stereotalker_09_upscale": upscale,
    "stereotalker_10_new_background": new_background,
    "stereotalker_11_ksampler": ksampler,
    "stereotalker_12_long_video": long_video,
    "stereotalker_13_emotional_face": emotional_face,
    "stereotalker_14_emotional_video": emotional_video,
}


@dataclass(frozen=True)
class Blueprint:
    """The description of a subgraph: its title, its graph, and its own inputs {name: ["node:input", ...] that it feeds}
    and outputs {name: "node:output"}."""

    title: str
    graph: Graph
    inputs: dict[str, list[str]]
    outputs: dict[str, str]


def talk_blueprint() -> Blueprint:
    g = Graph()
    g.everything()
    g.camera()
    g.render()
    g.rows[-1].wires["audio"] = "heard:audio"  # for the sound of the video
    del g.rows[0]  # the example inputs: they come from outside
    opened = {"image": ["fit:image"], "mask": ["fit:mask"], "audio": ["heard:audio"], "yaw": ["camera:yaw"]}
    opened |= {"path": ["camera:path"], "end_yaw": ["camera:end_yaw"], "seed": ["motion:seed"]}
    opened |= {"size": ["camera:size"], "background": ["render:background"], "transcript": ["motion:transcript"]}
    outputs = {"images": "render:images", "mask": "render:mask", "audio": "heard:audio", "fps": "render:fps"}
    outputs["video"] = "render:video"
    return Blueprint("Stereo-Talker: talk (two stages)", _opened(g, opened), opened, outputs)


def motion_blueprint() -> Blueprint:
    g = Graph()
    g.inputs()
    g.performance()
    g.add("edit", "StereoTalkerEditMotion", motion="motion:motion")
    g.add("look", "StereoTalkerPreviewMotion", motion="edit:motion")
    del g.rows[0]
    opened = {"audio": ["heard:audio"], "seed": ["motion:seed"]}
    outputs = {"motion": "edit:motion", "preview": "look:images", "audio": "heard:audio"}
    return Blueprint("Stereo-Talker: speech to motion", _opened(g, opened), opened, outputs)


def _opened(g: Graph, opened: dict[str, list[str]]) -> Graph:
    """Return the graph without the links into those node inputs that the subgraph's own inputs feed. opened: {input of
    the subgraph: ["node:input", ...]}."""
    rows = {row.name: row for row in g.rows}
    for targets in opened.values():
        for target in targets:
            name, key = target.split(":")
            rows[name].wires.pop(key, None)
    return g


BLUEPRINTS = {"stereotalker_talk": talk_blueprint, "stereotalker_speech_to_motion": motion_blueprint}
