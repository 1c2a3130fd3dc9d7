"""What a user does with pictures, copies and cached runs in a real browser: cut-outs, cats, cups, two people, 3D."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("browser", "comfyui", "nodes")]
from browser import CHROMIUM, ComfyPage  # noqa: E402
from test_browser import CAMERA, SIMPLE, label, pytestmark  # noqa: E402, F401

SAID = "() => [...document.querySelectorAll('[role=status]')].map((one) => one.innerText).filter(Boolean).join('\\n')"
CUT = (
    "() => [...document.querySelectorAll('[role=status]')].filter((one) => one.scrollHeight > one.clientHeight + 1)"
    ".map((one) => [one.scrollHeight, one.clientHeight])"
)
PHOTOS = Path(os.environ.get("BROWSER_PHOTOS", "/nowhere"))  # cut_out.png, cat.png, cup.png, two.png: real ones
KINDS = ("cut_out", "cat", "cup", "two")
FIT = "StereoTalkerFitPortrait"


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """The four pictures of `KINDS`, drawn."""
    from PIL import Image, ImageDraw

    from stereotalker_core.body.model import HalfBody
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait

    body, people = HalfBody(), []
    for person, size in ((11, 384), (21, 256)):
        portrait = reference_portrait(body, make_avatar(body, person), person, size)
        picture = ((portrait.image.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
        people.append((picture, (portrait.mask[0].numpy() * 255).round().astype(np.uint8)))
    (first, mask), (second, _) = people
    two = np.full((384, 640, 3), 128, np.uint8)
    two[:, :384], two[128:, 384:] = first, second
    cup, cat = (Image.new("RGB", (384, 384), colour) for colour in ((120, 90, 60), (150, 170, 140)))
    draw = ImageDraw.Draw(cup)
    draw.rectangle((120, 110, 260, 300), (235, 235, 230))
    draw.arc((230, 150, 330, 250), -90, 90, (235, 235, 230), 20)
    draw = ImageDraw.Draw(cat)
    draw.ellipse((110, 200, 290, 420), (90, 70, 50))
    draw.polygon([(120, 140), (130, 50), (180, 100)], (90, 70, 50))
    draw.polygon([(280, 140), (270, 50), (220, 100)], (90, 70, 50))
    draw.ellipse((110, 80, 290, 240), (100, 80, 60))
    for x in (160, 240):
        draw.ellipse((x - 18, 130, x + 18, 166), (190, 200, 60))
        draw.ellipse((x - 5, 132, x + 5, 164), (10, 10, 10))
    draw.polygon([(190, 185), (210, 185), (200, 197)], (200, 120, 120))
    return dict(zip(KINDS, (np.dstack([first, mask]), np.asarray(cat), np.asarray(cup), two), strict=True))


@pytest.fixture(scope="module", params=["drawn", "photographs"])
def pictures(request, server, drawn) -> dict[str, str]:
    """Names of the four pictures in the server's input folder; photographs where BROWSER_PHOTOS has them."""
    from PIL import Image

    if request.param == "photographs":
        if not all((PHOTOS / f"{kind}.png").is_file() for kind in KINDS):
            pytest.skip("BROWSER_PHOTOS names no folder with cut_out.png, cat.png, cup.png and two.png")
        drawn = {kind: np.asarray(Image.open(PHOTOS / f"{kind}.png")) for kind in KINDS}
    return {kind: server.upload(drawn[kind], f"{request.param}_{kind}.png") for kind in KINDS}


def fitted(tab, image: str, person: int = 0) -> tuple[str, str]:
    """Load Image with its mask -> Fit Portrait -> Preview Image: how the run ends, and what is said."""
    nodes = {"load": ("LoadImage", 40, 100), "fit": (FIT, 420, 100), "image": ("MaskToImage", 420, 460)}
    nodes["show"] = ("PreviewImage", 820, 100)
    links = [("load", "IMAGE", "fit", "image"), ("load", "MASK", "fit", "mask"), ("fit", "mask", "image", "mask")]
    links.append(("image", "IMAGE", "show", "images"))
    tab.build(nodes, links, {"load": {"image": image}, "fit": {"person": person}})
    tab.evaluate("() => app.refreshComboInNodes()")  # the files came while the page was open
    kind, detail = tab.run_to_end()
    tab.page.wait_for_timeout(1000)
    if kind == "error":
        tab.screenshot(f"refused-{image.removesuffix('.png')}")
        tab.page.keyboard.press("Escape")  # the older frontends' window with the same words
        tab.page.wait_for_timeout(500)
    return kind, tab.evaluate(SAID) if kind == "success" else detail["exception_message"]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_give_what_they_should(tab, pictures, kind):
    end, said = fitted(tab, pictures[kind])
    tab.screenshot(f"picture-{pictures[kind].removesuffix('.png')}")
    if kind in ("cat", "cup"):
        assert end == "error" and "no person found" in said
        assert "no person found" in tab.evaluate(SAID)  # on the node, where newer frontends show a button alone
        return
    assert tab.evaluate(CUT) == [], "lines that do not fit"
    assert end == "success" and "fit quality" in said
    assert ("inverse is used" in said) == (kind == "cut_out")
    assert ("2 people found" in said) == (kind == "two")
    if kind == "two":
        end, said = fitted(tab, pictures[kind], person=2)
        tab.screenshot(f"picture-{pictures[kind].removesuffix('.png')}-2")
        assert end == "success" and "people found" not in said
    assert tab.errors == []


def test_the_person_is_in_a_copy_and_after_a_cached_run(tab, renderer, request):  # noqa: F811
    tab.build(
        {"in": ("StereoTalkerExampleInputs", 40, 60), "talk": (SIMPLE, 420, 60), "save": ("PreviewImage", 900, 60)},
        [("in", "image", "talk", "image"), ("in", "audio", "talk", "audio"), ("talk", "images", "save", "images")],
        {"in": {"seconds": 0.6, "size": 256}, "talk": {"size": 128, "pitch": 2.0 if renderer == "nodes2" else 1.0}},
    )
    tab.run_graph()
    tab.wait_for_person()
    tab.run_graph()  # nothing is sent of what is cached as a whole
    tab.page.wait_for_timeout(1000)
    tab.wait_for_person()
    tab.screenshot(f"{label(request)}-cached")
    tab.evaluate(
        """kind => {
            const node = app.graph._nodes.find((one) => one.type === kind);
            const copied = node.serialize();
            delete copied.id;
            const copy = LiteGraph.createNode(kind);
            copy.configure({ ...copied, inputs: copied.inputs.map((one) => ({ ...one, link: null })) });
            copy.pos = [40, 400];
            app.graph.add(copy);
            app.graph.remove(node);
        }""",
        SIMPLE,
    )
    tab.page.wait_for_timeout(1500)
    tab.wait_for_person()
    assert tab.errors == []


def test_new_nodes_have_a_fixed_seed_and_a_grey_end(tab, renderer):  # noqa: F811
    for kind in (SIMPLE, "StereoTalkerSampleMotion", "StereoTalkerRenderVideo", "StereoTalkerRenderToFile"):
        tab.place_plain(kind)
        assert tab.widgets(kind)["control_after_generate"] == "fixed", kind
    off = "() => Boolean(app.graph._nodes[0].widgets.find((one) => one.name === 'end_yaw').disabled)"
    for kind, name, value in ((CAMERA, "path", "orbit"), (SIMPLE, "orbit", True)):
        tab.place(kind)
        assert tab.evaluate(off)
        tab.set_widget(kind, name, value)
        tab.page.wait_for_timeout(600)
        assert not tab.evaluate(off)
    assert tab.errors == []


def test_preview_3d_shows_the_talking_person(server, play, request):
    """Core's Preview 3D draws the exported person, in a tab with WebGL."""
    flags = ["--no-sandbox", "--use-gl=swiftshader", "--enable-webgl", "--enable-unsafe-swiftshader"]
    nodes = {
        "in": ("StereoTalkerExampleInputs", 40, 60), "fit": (FIT, 40, 360),
        "ears": ("StereoTalkerLoadAudioEncoder", 380, 60),
        "mind": ("StereoTalkerLoadMotionModel", 380, 180), "heard": ("StereoTalkerEncodeSpeech", 380, 340),
        "motion": ("StereoTalkerSampleMotion", 380, 500), "glb": ("StereoTalkerSaveAvatar", 740, 60),
        "show": ("Preview3D", 1000, 60),
    }  # fmt: skip
    links = [
        ("in", "image", "fit", "image"), ("in", "audio", "heard", "audio"), ("heard", "speech", "motion", "speech"),
        ("ears", "audio_encoder", "heard", "audio_encoder"), ("mind", "motion_model", "motion", "motion_model"),
        ("fit", "identity", "glb", "identity"), ("motion", "motion", "glb", "motion"),
        ("glb", "model_file", "show", "model_file"),
    ]  # fmt: skip
    browser = play.chromium.launch(executable_path=CHROMIUM, args=[*flags, "--ignore-gpu-blocklist"])
    tab = ComfyPage(browser, server.port)
    tab.build(nodes, links, {"in": {"seconds": 0.6, "size": 256}, "motion": {"steps": 4}})
    place = tab.evaluate(
        """() => {
            const node = app.graph._nodes.find((one) => one.type === "Preview3D");
            node.setSize([420, 560]);
            const { left, top } = app.canvas.canvas.getBoundingClientRect(), [x, y] = app.canvas.ds.offset;
            return { x: left + x + node.pos[0] + 20, y: top + y + node.pos[1] + 160, width: 380, height: 330 };
        }"""
    )
    tab.run_graph()
    for _ in range(20):  # three.js without a graphics card
        tab.page.wait_for_timeout(3000)
        colours = shown_colours(tab.page.screenshot(clip=place))
        if colours > 300:
            break
    tab.screenshot(f"preview3d-{request.node.callspec.id}")
    tab.close()
    browser.close()
    assert colours > 300, "a person, not an empty stage"


def shown_colours(png: bytes) -> int:
    """How many colours a picture has."""
    from io import BytesIO

    from PIL import Image

    return len(np.unique(np.asarray(Image.open(BytesIO(png)).convert("RGB")).reshape(-1, 3), axis=0))
