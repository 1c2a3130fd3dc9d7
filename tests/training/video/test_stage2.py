"""The stage-2 trainers on tiny networks: losses fall, the right weights move, a killed run resumes exactly."""

import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from stereotalker_core.training.loop import Schedule, fit
from stereotalker_core.training.video import autoencoder, decoder, experts, joint, mask, renderer
from stereotalker_core.training.video.denoising import PictureBatches
from stereotalker_core.training.video.stage_two import StageTwo, is_motion
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from stereotalker_core.video.networks.reference import ReferenceNet
from stereotalker_core.video.networks.unet import StereoTalkerUNet
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from tests.training.stage2_samples import PARTS, write_shard
from tests.video.samples import CONFIG, randomise

VAE = AutoencoderConfig(4, 8, 8, 8, groups=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("avatars")
    write_shard(root / "00")
    return AvatarData(find_shards(root), PARTS)


def make_vae(data):
    torch.manual_seed(0)
    vae = TinyAutoencoder(VAE)
    autoencoder.set_statistics(vae, data, 8)
    return vae


def make_denoiser():
    torch.manual_seed(0)
    return StageTwo(StereoTalkerUNet(CONFIG), ReferenceNet(CONFIG.reference()))


def moved(before, model):
    return {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}


def copy(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_autoencoder_loss_falls_and_resume_is_exact(data, tmp_path):
    def run(folder, kill_at=None):
        torch.manual_seed(0)
        model, curve = TinyAutoencoder(VAE), []

        def log(step, row):
            curve.append(row["loss"])
            if step == kill_at:
                raise KeyboardInterrupt

        schedule = Schedule(6, warmup=1, log_every=1, save_every=2, amp=False)
        batches = autoencoder.CropBatches(data, batch=4, size=32)
        try:
            fit(model, batches, autoencoder.loss, schedule, folder, on_log=log)
        except KeyboardInterrupt:
            return None, curve
        return model, curve

    whole, curve = run(tmp_path / "a")
    _, start = run(tmp_path / "b", kill_at=3)
    again, rest = run(tmp_path / "b")
    assert curve[-1] < curve[0] and start[:2] + rest == curve
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_latent_statistics_normalise(data):
    vae = make_vae(data)
    z = vae.encode(data.rows(range(16)).rgb)
    assert z.mean((0, 2, 3)).abs().max() < 0.5 and (z.std((0, 2, 3)) - 1).abs().max() < 0.5


def test_image_stage_moves_everything_but_the_motion_modules(data, tmp_path):
    config, vae = CONFIG, make_vae(data)
    model = renderer.train_image(data, vae, tmp_path, 3, config, identities=2, frames=2)
    torch.manual_seed(0)
    unet = StereoTalkerUNet(config)
    start = StageTwo(unet, ReferenceNet(config.reference())).state_dict()
    changed = moved(start, model)
    assert not any(is_motion(name) for name in changed)
    for part in ("unet.pose.conv_out.weight", "reference.unet.conv_in.weight", "unet.unet.conv_out.weight"):
        assert part in changed, part


def test_motion_stage_moves_only_the_motion_modules(data, tmp_path):
    model = make_denoiser()
    torch.nn.init.normal_(model.unet.unet.conv_out.weight, std=0.1)
    before = copy(model)
    renderer.train_motion(model, data, make_vae(data), tmp_path, 2, clips=2, frames=4)
    changed = moved(before, model)
    assert changed and all(is_motion(name) for name in changed)


def test_experts_learn_on_a_frozen_base(data, tmp_path):
    model = make_denoiser()
    torch.nn.init.normal_(model.unet.unet.conv_out.weight, std=0.1)
    before = copy(model)
    view, mask_experts = experts.train_experts(model, data, make_vae(data), tmp_path, 4, identities=2, frames=2, rank=2)
    assert not moved(before, model)
    assert any(p.any() for p in view.up) and any(p.any() for p in mask_experts.up)


def test_decoder_stage_moves_only_the_guided_decoder(data, tmp_path):
    vae = make_vae(data)
    before = copy(vae)
    decoder.train_decoder(vae, make_denoiser(), data, tmp_path, 2, batch=4, size=32)
    changed = moved(before, vae)
    assert changed and all(name.startswith("guided.") for name in changed)


def test_mask_predictor_learns(data, tmp_path):
    log = []
    torch.manual_seed(0)
    model = MaskPredictor(MaskConfig((0, 2, 3, 3) + (1,) * 15, widths=(8, 8, 8), groups=4))
    schedule = Schedule(8, lr=5e-3, warmup=1, log_every=1, amp=False)
    fit(model, mask.MaskBatches(data, 4), mask.loss, schedule, tmp_path, on_log=lambda _, row: log.append(row["loss"]))
    assert log[-1] < log[0]


def test_flips_agree_between_portrait_and_frames(data):
    batches = PictureBatches(data, 2, 2, clips=False, seed=0)
    flipped = [batches(step) for step in range(6)]
    assert {tuple(b["rgb"].shape) for b in flipped} == {(4, 3, 64, 64)}
    assert all(b["portrait"].shape == (2, 3, 64, 64) for b in flipped)
    assert torch.equal(batches(2)["rgb"], flipped[2]["rgb"])


def test_joint_training_moves_what_it_should_and_saves_a_renderers_files(data, tmp_path):
    vae, base = make_vae(data), make_denoiser()
    before_vae, before = copy(vae), copy(base)
    model = joint.train_joint(base, vae, data, tmp_path / "run", 2, identities=2, frames=2)
    changed = moved(before_vae, vae)
    assert changed and all(name.startswith("guided.") for name in changed)
    changed = moved(before, base)
    assert not any(is_motion(name) for name in changed)
    assert any(n.startswith("unet.") for n in changed) and any(n.startswith("reference.") for n in changed)
    assert all(bool(up.detach().any()) for module in model.denoiser.experts for up in module.up)
    joint.save_joint(model, tmp_path / "out", command="test", seed="0", commit="none", metrics={})
    names = {path.stem for path in (tmp_path / "out").iterdir()}
    assert names == {"unet", "reference", "vae", "view_experts", "mask_experts"}


def test_experts_alone_move_alone_and_see_more_sides_and_skin(data, tmp_path):
    vae, base = randomise(make_vae(data)), make_denoiser()
    randomise(base.unet)  # a denoiser whose last layer is zero teaches the experts nothing
    before_vae, before = copy(vae), copy(base)
    model = joint.train_joint(base, vae, data, tmp_path, 2, identities=2, frames=2, only_experts=True)
    assert not moved(before_vae, vae) and not moved(before, base)
    assert all(bool(up.detach().any()) for module in model.denoiser.experts for up in module.up)
    settings = {"identities": 2, "frames": 2, "size": 32}
    usual = joint.JointBatches(data, make_vae(data), **settings)
    special = joint.JointBatches(data, make_vae(data), side=3.0, skin=4.0, **settings)
    sides = [sum(int((b(step)["yaw"].abs() >= joint.SIDE).sum()) for step in range(40)) for b in (usual, special)]
    assert sides[1] > 1.3 * sides[0]
    assert float(special(0)["weight"].max()) > float(usual(0)["weight"].max())


def test_what_the_guides_lack_weighs_more():
    model = MaskPredictor(MaskConfig((0, 2, 3, 3) + (1,) * 15, widths=(8, 8, 8), groups=4))
    target = torch.zeros(1, 4, 8, 8)
    target[:, 1] = 1  # a person everywhere, of whom the guides show the upper half
    part = torch.zeros(1, 1, 8, 8)
    part[:, :, :4] = 4
    guide = torch.zeros(1, model.stem.in_channels - 64, 2, 2)
    batch = {"guide": guide, "part": part, "target": target}
    with torch.no_grad():
        value, _ = mask.loss(model, batch)
    log = model(batch["guide"], model.silhouette(part)).log_softmax(1)[:, 1]
    share = log.exp()
    dice = 1 - 2 * share.sum() / (share.sum() + 64)
    entropy = -(log[:, :4].sum() + (1 + mask.LACKING) * log[:, 4:].sum()) / 64
    assert float(value) == pytest.approx(float(entropy.detach() + 0.2 * (dice.detach() + 3) / 4), rel=1e-4)


def test_joint_crops_are_cut_where_the_corner_says(data):
    vae = make_vae(data)
    batch = joint.JointBatches(data, vae, identities=2, frames=2, size=32)(3)
    rows = data.rows(data.draw(joint.generator(0, 3), 2, 2))
    assert batch["rgb"].shape == (4, 3, 32, 32) and batch["weight"].shape == (4, 1, 32, 32)
    y, x = batch["corner"][1].tolist()
    window = rows.rgb[1, :, y : y + 32, x : x + 32]
    mirrored = rows.rgb[1].flip(-1)[:, y : y + 32, x : x + 32]
    assert torch.equal(batch["rgb"][1], window) or torch.equal(batch["rgb"][1], mirrored)


def test_joint_loss_leaves_the_experts_in_place(data):
    vae, base = make_vae(data), make_denoiser()
    pair = tuple(kind.for_unet(base.unet, rank=2) for kind in (joint.ViewExperts, joint.MaskExperts))
    model = joint.Joint(StageTwo(base.unet, base.reference, pair), vae)
    batch = joint.JointBatches(data, vae, identities=1, frames=2, size=32)(0)
    torch.manual_seed(3)
    for _ in range(4):
        value, parts = joint.joint_loss(model, batch)
        assert torch.isfinite(value) and {"gain_db", "detail", "latent"} <= set(parts)
        assert [type(e) for e in model.denoiser.experts] == [type(e) for e in pair]


def test_an_ablation_is_trained_without_its_part(data, tmp_path):
    settings = {"identities": 2, "frames": 2, "size": 32}
    usual, flat = (joint.JointBatches(data, make_vae(data), without=w, **settings)(0) for w in ((), ("lift",)))
    assert torch.equal(usual["rgb"], flat["rgb"]) and usual["guide"][:, :48].any() and not flat["guide"][:, :48].any()
    assert not torch.equal(usual["lift"], flat["lift"])
    bare = joint.JointBatches(data, make_vae(data), without=("predictor",), **settings)(0)
    assert torch.equal(bare["clean"], usual["clean"]) and not torch.equal(bare["regions"], usual["regions"])
    new = MaskPredictor.for_parts(data.part_names)  # its correction is zero: softened silhouettes
    found = joint.JointBatches(data, make_vae(data), predictor=new, **settings)(0)["regions"]
    torch.testing.assert_close(found.argmax(1), bare["regions"].argmax(1))
    assert not torch.equal(found, bare["regions"])
    base, vae = make_denoiser(), make_vae(data)
    before = copy(base)
    parts = ("reference", "view")
    model = joint.train_joint(base, vae, data, tmp_path, 2, identities=2, frames=2, without=parts)
    assert [type(e) for e in model.denoiser.experts] == [joint.MaskExperts]
    assert not [name for name in moved(before, base) if name.startswith("reference.")]
    joint.save_joint(model, tmp_path / "out", command="test", seed="0", commit="none", metrics={})
    view = checkpoint.load(joint.ViewExperts, tmp_path / "out" / "view_experts.safetensors")
    assert not any(up.any() for up in view.up)
    with pytest.raises(ValueError, match="colour"):
        joint.train_joint(base, vae, data, tmp_path, 2, without=("colour",))


def test_fine_energy_is_compared_inside_the_mask():
    truth = torch.rand(2, 3, 16, 16) * 2 - 1
    inside = torch.zeros(2, 1, 16, 16)
    inside[..., 4:12, 4:12] = 1
    other = torch.where(inside.bool(), truth, torch.zeros(()))
    assert joint.fine_ratio(truth, truth, inside).abs().max() == 0
    assert joint.fine_ratio(0.5 * truth, truth, inside) == pytest.approx(-1.386, abs=0.02)  # ln 1/4
    assert joint.fine_ratio(other, truth, inside).abs().max() < 0.7  # only the rim changes


def test_joint_sees_windows_of_larger_frames_in_some_steps(data, monkeypatch):
    monkeypatch.setattr(joint, "LARGE", 32)
    settings = {"identities": 2, "frames": 2, "size": 32}
    usual = joint.JointBatches(data, make_vae(data), **settings)
    mixed = joint.JointBatches(data, make_vae(data), large=data, **settings)
    sides = [mixed(step)["clean"].shape[-1] for step in range(20)]
    whole = usual(0)["clean"].shape[-1]
    assert set(sides) == {4, whole} and 2 < sides.count(4) < 15
    step = sides.index(whole)  # a step without a window is the step of a run without larger frames
    assert torch.equal(mixed(step)["rgb"], usual(step)["rgb"])
