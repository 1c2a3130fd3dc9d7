"""Full-size sets, public speech encoders and language models through the nodes: random weights in the real layout."""

import os
from importlib import import_module
from pathlib import Path

import pytest
import torch
from graph import STOCK, load_pack, run

from tests.convert.public_files import small

PACK = load_pack()
CLASSES = {**STOCK, **PACK.NODE_CLASS_MAPPINGS}
NANO, FRAMES, SIZE = "nano (embedded)", 6, 64
SET = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")
HERE = {"unet_name": "my_set/", "reference_name": NANO, "vae_name": NANO}


def core(name: str):
    return import_module(f"{PACK.__name__}.stereotalker_core.{name}")


def call(kind: str, **inputs):
    """Run one node -> its outputs."""
    result = getattr(CLASSES[kind](), CLASSES[kind].FUNCTION)(**inputs)
    return result["result"] if isinstance(result, dict) else result


def choices(kind: str, name: str) -> list[str]:
    return CLASSES[kind].INPUT_TYPES()["required"][name][0]


def write_set(folder: Path) -> None:
    """The four files of an AnimateAnyone set, SD's VAE and CLIP's image encoder, a tenth as wide, random."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder.mkdir(parents=True)
    for i, name in enumerate(SET):
        torch.save(small(name, i), folder / f"{name}.pth")
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = CLIPVisionConfig(**sizes, patch_size=56, projection_dim=64)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models/stereotalker/my_set in it."""
    place = tmp_path_factory.mktemp("place")
    write_set(place / "models" / "stereotalker" / "my_set")
    return place


@pytest.fixture(autouse=True)
def workplace(place, monkeypatch):
    """The models folder is that of the working directory; networks need no gradients."""
    monkeypatch.chdir(place)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def identity():
    body = PACK.nodes.host.body()
    avatar = core("synthetic.people.avatar").make_avatar(body, 5)
    portrait = core("synthetic.people.portrait").reference_portrait(body, avatar, 5, 128)
    return core("synthetic.people.portrait").true_identity(body, avatar, portrait)


@pytest.fixture(scope="module")
def renderer(place):
    """(MODEL, VAE) of the set."""
    before = Path.cwd()
    os.chdir(place)
    try:
        return call("StereoTalkerLoadRenderer", **HERE)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def told():
    """A motion and cameras that turn about the person."""
    rng = torch.Generator().manual_seed(0)
    rotations = torch.randn(FRAMES, 49, 3, generator=rng).cumsum(0) * 0.02
    return core("records").Motion(rotations, torch.rand(FRAMES, 52, generator=rng) * 0.3)


@pytest.fixture(scope="module")
def cameras(identity, told):
    settings = {"yaw": -30.0, "end_yaw": 30.0, "pitch": 0.0, "distance": 1.0, "framing": "auto", "size": SIZE}
    return call("StereoTalkerCameraTrajectory", identity=identity, motion=told, path="orbit", **settings)[0]


@pytest.fixture(scope="module")
def sockets(identity, told, cameras):
    return {"identity": identity, "motion": told, "cameras": cameras, "background": "grey"}


def rendered(model, vae, sockets, steps=2, seed=3):
    return call("StereoTalkerRenderVideo", model=model, vae=vae, seed=seed, steps=steps, **sockets)[0]


def sampled(model, told, steps=2, seed=3, cfg=3.5, denoise=1.0):
    positive, negative, latent, vae, _, _ = told
    (latents,) = call(
        "KSampler", model=model, seed=seed, steps=steps, cfg=cfg, sampler_name="euler", scheduler="simple",
        positive=positive, negative=negative, latent_image=latent, denoise=denoise,
    )  # fmt: skip
    return call("VAEDecode", samples=latents, vae=vae)[0]


def conditioned(vae, sockets):
    return call("StereoTalkerConditioning", vae=vae, freeze_background=False, **sockets)


def different(a, b) -> float:
    return float((a - b).abs().mean())


def test_loaders_offer_the_set():
    for name in ("unet_name", "reference_name", "vae_name"):
        assert choices("StereoTalkerLoadRenderer", name)[0] == NANO
        assert "my_set/" in choices("StereoTalkerLoadRenderer", name)
    experts = choices("StereoTalkerLoadViewMoE", "experts_name")
    assert "my_set/" not in experts and not any("my_set/vae/" in name for name in experts)


def test_render_video_equals_the_library(renderer, sockets, identity, told, cameras, place):
    """The node's frames are those of load_set and render_video."""
    frames = rendered(*renderer, sockets)
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.isfinite().all()
    assert float(frames.std()) > 0.02 and float(frames.diff(dim=0).abs().mean()) > 1e-4
    folder = place / "models" / "stereotalker" / "my_set"
    theirs, body = core("convert.sets").load_set(folder)[0], PACK.nodes.host.body()
    chunks = core("video.rendering.render").render_video(
        body, theirs, identity, told, cameras, steps=2, seed=3, background=(0.5, 0.5, 0.5), window=FRAMES, overlap=4,
        use_predicted_mask=False,
    )  # fmt: skip
    expected = torch.cat([chunk.frames for chunk in chunks])
    assert float((frames.movedim(-1, 1) * 2 - 1 - expected).abs().max()) < 1e-3
    assert different(rendered(*renderer, sockets, seed=4), frames) > 1e-3


def test_ksampler_equals_the_guided_sampler(renderer, sockets):
    """Zero-SNR levels, guidance with a dropped reference, drawings, context windows: the same latents both ways."""
    model, vae = renderer
    (model,) = settings(model, context_length=4, context_overlap=1)
    told = conditioned(vae, sockets)
    clip = told[0][0][1]["stereotalker_clip"]
    noise = torch.randn(clip.lift.shape, generator=torch.Generator().manual_seed(3))
    unet, _ = PACK.nodes.host.networks_of(model)
    portrait = core("video.rendering.clip").read_portrait(model.model.renderer(), clip)
    cond = core("video.networks.unet").Condition(
        clip.guide.float() / 255, portrait.tokens, clip.yaw, reference=portrait.reference,
        regions=clip.regions.float(), clip_length=FRAMES,
    )  # fmt: skip
    windows = core("video.networks.contexts").ContextWindows(4, 1)
    expected = core("video.networks.guidance").sample_guided(unet, noise, cond, steps=4, scale=3.5, windows=windows)
    (latents,) = call(
        "KSampler", model=model, seed=3, steps=4, cfg=3.5, sampler_name="euler", scheduler="simple",
        positive=told[0], negative=told[1], latent_image=told[2], denoise=1.0,
    )  # fmt: skip
    found = latents["samples"] * 0.18215
    assert float((found - expected).norm() / expected.norm()) < 1e-2
    frames = call("VAEDecode", samples=latents, vae=told[3])[0]
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.isfinite().all()
    assert different(sampled(model, told, 4, cfg=1.0), frames) > 1e-3, "guidance does nothing"
    assert sampled(model, told, 1, denoise=0.5).isfinite().all()


def test_the_conditioning_holds_the_drawing_and_the_embedding(renderer, sockets, identity, told, cameras):
    clip = conditioned(renderer[1], sockets)[0][0][1]["stereotalker_clip"]
    assert clip.guide.dtype == torch.uint8 and clip.guide.shape == (FRAMES, 3, SIZE, SIZE)
    skeleton = call("StereoTalkerRenderGuides", identity=identity, motion=told, cameras=cameras)[3]
    assert float((clip.guide / 255 - skeleton.movedim(-1, 1)).abs().max()) < 0.01
    assert clip.tokens.shape == (1, 1, 64) and clip.portrait.shape == (1, 4, SIZE // 8, SIZE // 8)


def settings(model, **changes):
    values = {"guidance": 3.5, "context_length": 24, "context_overlap": 4, "closed_loop": True, "tile_size": 0}
    return call("StereoTalkerRendererSettings", model=model, **{**values, "run_length": 96, **changes})


def test_settings_change_what_is_rendered(renderer, sockets):
    model, vae = renderer
    plain = rendered(model, vae, sockets, 1)
    assert torch.equal(rendered(settings(model)[0], vae, sockets, 1), plain)
    for changes in ({"guidance": 1.0}, {"context_length": 4, "context_overlap": 1},
                    {"context_length": 4, "context_overlap": 1, "closed_loop": False}, {"run_length": 5}):  # fmt: skip
        assert different(rendered(settings(model, **changes)[0], vae, sockets, 1), plain) > 1e-5, changes
    nano = call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name=NANO, vae_name=NANO)[0]
    with pytest.raises(ValueError, match="full-size sets"):
        settings(nano)
    with pytest.raises(ValueError, match="overlap must be from 0 to length - 1 = 3"):
        settings(model, context_length=4)
    with pytest.raises(ValueError, match="tile_size 64"):
        settings(model, tile_size=64)


def test_the_vae_serves_the_stock_nodes(renderer):
    vae = renderer[1]
    image = torch.rand(3, SIZE, SIZE, 3)
    latents = vae.encode(image)
    assert latents.shape == (3, 4, 8, 8)
    stock = vae.network.model.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents, stock, rtol=1e-3, atol=1e-4)
    whole, wide = vae.decode(latents), torch.randn(1, 4, 32, 32)
    theirs = (vae.network.model.decode(latents).sample.clamp(-1, 1).movedim(1, -1) + 1) / 2
    torch.testing.assert_close(whole, theirs, rtol=1e-3, atol=1e-3)
    tiled = vae.decode_tiled(wide, tile_x=24, tile_y=24, overlap=8)
    assert tiled.shape == (1, 256, 256, 3) and 0 < different(tiled, vae.decode(wide)) < 0.1


def test_experts_of_a_set(renderer, sockets, place):
    model, vae = renderer
    folder = place / "models" / "stereotalker" / "experts"
    core("convert.upcycle").save_experts(place / "models/stereotalker/my_set/denoising_unet.pth", folder, rank=2)
    plain = rendered(model, vae, sockets, 1)
    for kind in ("View", "Mask"):
        name = f"experts/{kind.lower()}_experts.safetensors"
        assert name in choices(f"StereoTalkerLoad{kind}MoE", "experts_name")
        (fresh,) = call(f"StereoTalkerLoad{kind}MoE", model=model, experts_name=name, strength=1.0)
        assert torch.equal(rendered(fresh, vae, sockets, 1), plain), "new experts change something"
        experts = PACK.nodes.host.experts_of(fresh)[kind.lower()][0]
        for up in experts.up:
            up.normal_()
        assert different(rendered(fresh, vae, sockets, 1), plain) > 1e-4
        with pytest.raises(ValueError, match="nano .* another renderer.*convert experts"):
            call(f"StereoTalkerLoad{kind}MoE", model=model, experts_name=NANO, strength=1.0)


def test_graph_runs_to_its_end(identity, told, cameras):
    """Load Renderer -> settings -> Conditioning -> KSampler -> VAE Decode, as one prompt."""
    given = {
        "StereoTalkerGiven": type(
            "Given", (), {"INPUT_TYPES": classmethod(lambda cls: {"required": {}}), "FUNCTION": "give",
                          "give": lambda self: (identity, told, cameras)},
        )
    }  # fmt: skip
    prompt = {
        "0": {"class_type": "StereoTalkerGiven", "inputs": {}},
        "1": {"class_type": "StereoTalkerLoadRenderer", "inputs": HERE},
        "2": {"class_type": "StereoTalkerRendererSettings", "inputs": {
            "model": ["1", 0], "guidance": 2.0, "context_length": 4, "context_overlap": 2, "closed_loop": True,
            "tile_size": 192, "run_length": 96}},
        "3": {"class_type": "StereoTalkerConditioning", "inputs": {
            "vae": ["1", 1], "identity": ["0", 0], "motion": ["0", 1], "cameras": ["0", 2],
            "background": "portrait", "freeze_background": False}},
        "4": {"class_type": "KSampler", "inputs": {
            "model": ["2", 0], "seed": 1, "steps": 2, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple",
            "positive": ["3", 0], "negative": ["3", 1], "latent_image": ["3", 2], "denoise": 1.0}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["3", 3]}},
    }  # fmt: skip
    frames = run(prompt, {**CLASSES, **given})["5"][1][0]
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.isfinite().all() and float(frames.std()) > 0.02


def copied(place: Path, name: str, leave_out: str) -> Path:
    """A second set without one file or folder."""
    source, target = place / "models/stereotalker/my_set", place / "models/stereotalker" / name
    target.mkdir()
    for path in source.iterdir():
        if path.name != leave_out:
            (target / path.name).symlink_to(path)
    return target


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("pose_guider.pth", "no pose_guider.pth.*a set is"),
        ("motion_module.pth", "no motion_module.pth"),
        ("reference_unet.pth", "no reference_unet.pth"),
        ("vae", "no autoencoder in .*put sd-vae-ft-mse into"),
        ("image_encoder", "no image encoder in .*put image_encoder of sd-image-variations"),
    ],
)
def test_a_missing_part_is_named_with_the_remedy(place, missing, words):
    name = f"without_{missing.split('.')[0]}"
    copied(place, name, missing)
    with pytest.raises(FileNotFoundError, match=words):
        call("StereoTalkerLoadRenderer", **{**HERE, "unet_name": f"{name}/"})


def test_files_that_do_not_belong_are_refused(place, renderer, sockets):
    with pytest.raises(FileNotFoundError, match="no model folder 'nowhere/'.*models/stereotalker"):
        call("StereoTalkerLoadRenderer", **{**HERE, "unet_name": "nowhere/"})
    with pytest.raises(FileNotFoundError, match="no model folder"):
        call("StereoTalkerLoadRenderer", **{**HERE, "unet_name": "../stereotalker/my_set/"})
    with pytest.raises(ValueError, match="is a full-size set: choose it as unet_name"):
        call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name="my_set/", vae_name=NANO)
    unet = PACK.nodes.host.networks_of(renderer[0])[0]
    core("convert.assemble").save_model(unet, place / "models/stereotalker/alone.safetensors")
    with pytest.raises(ValueError, match="alone.safetensors is a full-size denoiser.*folder"):
        call("StereoTalkerLoadRenderer", **{**HERE, "unet_name": "alone.safetensors"})
    code = copied(place, "code", "pose_guider.pth") / "pose_guider.pth"
    torch.save({"conv_in.weight": Touch(place / "marker")}, code)
    with pytest.raises(ValueError, match="which is code"):
        call("StereoTalkerLoadRenderer", **{**HERE, "unet_name": "code/"})
    assert not (place / "marker").exists()
    nano = call("StereoTalkerLoadRenderer", unet_name=NANO, reference_name=NANO, vae_name=NANO)
    for model, vae in ((renderer[0], nano[1]), (nano[0], renderer[1])):
        with pytest.raises(ValueError, match="of different renderers"):
            rendered(model, vae, sockets)
        with pytest.raises(ValueError, match="made with another VAE"):
            sampled(model, conditioned(vae, sockets))


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_another_autoencoder_and_another_reference(place, renderer, sockets):
    """A VAE of models/vae, TAESD of models/vae_approx, a reference network file: each replaces the set's."""
    from diffusers import AutoencoderKL

    from tests.convert.public_files import key_lists

    folder = place / "models" / "vae"
    folder.mkdir()
    torch.manual_seed(3)
    other = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    torch.save(other.state_dict(), folder / "other.pt")
    (place / "models" / "vae_approx").mkdir()
    for part in ("encoder", "decoder"):
        state = {k: torch.randn(s) * 0.05 for k, s in key_lists()[f"taesd_{part}"].items()}
        torch.save(state, place / "models" / "vae_approx" / f"taesd_{part}.pth")
    names = choices("StereoTalkerLoadRenderer", "vae_name")
    assert "other.pt [vae]" in names and "taesd_decoder.pth [vae_approx]" in names
    assert not any("taesd_encoder" in name for name in names)
    plain = rendered(*renderer, sockets, 1)
    for name, kind in (("other.pt [vae]", "kl"), ("taesd_decoder.pth [vae_approx]", "tiny")):
        model, vae = call("StereoTalkerLoadRenderer", **{**HERE, "vae_name": name})
        assert vae.network.config.kind == kind and different(rendered(model, vae, sockets, 1), plain) > 1e-3
    torch.save(small("reference_unet", 9), place / "models/stereotalker/reference.pth")
    state = core("convert.renderer").load_reference(place / "models/stereotalker/reference.pth")[0]
    core("convert.assemble").save_model(state, place / "models/stereotalker/reference.safetensors")
    model, vae = call("StereoTalkerLoadRenderer", **{**HERE, "reference_name": "reference.safetensors"})
    assert different(rendered(model, vae, sockets, 1), plain) > 1e-5
