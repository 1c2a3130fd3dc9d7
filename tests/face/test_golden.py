"""Every number of the reference modules: activations, indices, draws, losses, gradients, one optimiser step."""

import pytest
import torch
from golden import arrays, mini

from stereotalker_core.face import layout
from stereotalker_core.face.hubert import pair_frames, prepare_waveform
from stereotalker_core.face.layers import position_table
from stereotalker_core.face.quantiser import Draw, Quantiser
from stereotalker_core.training.face.face_loss import PredictorWeights, PriorWeights, split_l1, stage_one, stage_two


def close(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def record(model, names):
    """Outputs of submodules by name, filled at the next forward pass."""
    out = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: out.__setitem__(name, o))
    return out


def test_position_table_and_scalers():
    g = arrays("pos_table")
    close(position_table(256)[g["rows"], 0], g["d256_rows"])
    g = arrays("scalers")
    plain = torch.cat([g["exp"], g["jaw"]], -1)
    close(layout.normalise(plain), g["normed"], 1e-6)
    close(layout.denormalise(g["normed"]), plain, 1e-5)


@pytest.mark.parametrize("frames", [21, 40])
def test_stage_one_forward(frames):
    g, model = arrays(f"mini_stage1_T{frames}"), mini(1)
    seen = record(model, [
        "motion_encoder.feature_mapping", "motion_encoder.squasher", "motion_encoder.encoder_linear_embedding",
        "motion_encoder.encoder_pos_embedding", "motion_encoder.encoder_transformer.net.0",
        "motion_encoder.encoder_transformer.net.1", "motion_decoder.expander",
        "motion_decoder.decoder_linear_embedding", "motion_decoder.decoder_pos_embedding",
        "motion_decoder.decoder_transformer",
    ])  # fmt: skip
    recovered, passed = model(g["motion"])
    expected = ("enc_feature_mapping", "enc_squasher_cT", "enc_linear", "enc_pos", "enc_block0_attn", "enc_block0_mlp",
                "dec_expander_cT", "dec_linear", "dec_pos", "dec_transformer")  # fmt: skip
    for ours, name in zip(seen.values(), expected, strict=True):
        close(ours, g[name])
    z = model.encode(g["motion"])
    close(z, g["z"])
    close(model.quantize.rows(z), g["z_rows"])
    torch.testing.assert_close(model.quantize.distances(model.quantize.rows(z)), g["dist"], rtol=1e-5, atol=1e-5)
    assert torch.equal(passed.indices, g["idx"][:, 0])
    close(passed.latent, g["z_q"])
    close(passed.perplexity, g["perplexity"], 1e-4)
    close(recovered, g["motion_rec"])


@pytest.mark.parametrize("frames", [21, 40])
def test_stage_one_losses_gradients_and_one_step(frames):
    g, model = arrays(f"mini_stage1_T{frames}"), mini(1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.98), 1e-9, 0.01)
    total, parts = stage_one(*model(g["motion"], rounded=True), g["motion"], PriorWeights())
    for name, value in (("loss_total", total), ("loss_exp", parts["expression"]), ("loss_jaw", parts["jaw"]),
                        ("loss_quant", parts["bottleneck"]), ("quant_loss", parts["bottleneck"])):  # fmt: skip
        close(value, g[name], 1e-6)
    total.backward()
    weights = dict(model.named_parameters())
    for key in g:
        if key.startswith("grad/"):
            torch.testing.assert_close(weights[key[5:]].grad, g[key], rtol=1e-4, atol=1e-6)
    optimizer.step()
    for key in g:
        if key.startswith("adamw/"):
            close(weights[key[6:]].detach(), g[key], 1e-6)


@pytest.mark.parametrize("temperature", ["0p2", "20"])
@pytest.mark.parametrize("k", [1, 3])
def test_draws_are_the_same(temperature, k):
    g, quantiser = arrays("mini_quantiser_sampling"), mini(1).quantize
    draw = Draw(float(temperature.replace("p", ".")), k, seed=99)
    distances = quantiser.distances(quantiser.rows(g["z"]))
    torch.testing.assert_close(distances, g["dist"], rtol=1e-5, atol=1e-5)
    close(torch.softmax(-distances / draw.temperature, 1), g[f"prob_t{temperature}"])
    passed = quantiser(g["z"], draw)
    same = passed.indices == g[f"idx_t{temperature}_k{k}"][:, 0]
    assert same.float().mean() > 0.95  # one of 24 draws may fall on a border that rounding moves
    close(quantiser.rows(passed.latent)[same], quantiser.rows(g[f"zq_t{temperature}_k{k}"])[same])


@torch.no_grad()
def test_stage_two_forward_and_samples():
    g, model = arrays("mini_stage2"), mini(2)
    root = "feature_extractor.audiomodel."
    seen = record(model, [
        root + "feature_extractor", root + "encoder.pos_conv_embed", root + "encoder.layers.0",
        "feature_predictor.audio_feature_map", "feature_predictor.style_embedding", "feature_predictor.squasher",
        "feature_predictor.encoder_linear_embedding", "feature_predictor.encoder_transformer",
    ])  # fmt: skip
    waveform = prepare_waveform(g["audio_raw"])
    close(waveform[None], g["input_values"])
    hidden = model.feature_extractor(waveform[None])
    close(hidden, g["hubert_last"])
    style = layout.FaceStyle.of_clip("W011_x_5_1").vector()[None]
    assert torch.equal(style, g["style"].reshape(1, -1))
    motion = model(pair_frames(hidden), style)
    close(motion, g["motion_det"])
    names = ("hub_conv_cT", "hub_posconv", "hub_layer0", "pred_audio_map", "pred_style", "pred_squasher_cT",
             "pred_linear", "pred_out")  # fmt: skip
    for ours, name in zip(seen.values(), names, strict=True):
        close(ours[0] if isinstance(ours, tuple) else ours, g[name])
    rows = model.motion_prior.quantize.rows(seen["feature_predictor.encoder_transformer"])
    distances = model.motion_prior.quantize.distances(rows)
    torch.testing.assert_close(distances, g["dist"], rtol=1e-5, atol=1e-5)
    assert torch.equal(distances.argmin(1), g["idx"])
    for text in ("0p2", "20"):
        draw = Draw(float(text.replace("p", ".")), seed=1234)
        close(model(model.hear(waveform[None]), style, draw), g[f"motion_sample_t{text}"])


@pytest.mark.parametrize("frames", [17, 25])
def test_stage_two_losses_and_gradients(frames):
    g, model = arrays("mini_stage2"), mini(2)
    part = {k.split("/")[1]: v for k, v in g.items() if k.startswith(f"tr{frames}/")}
    audio = pair_frames(g["hubert_last"])
    length = min(audio.shape[1], frames)
    close(audio[:, :length], part["audio_rs"])
    close(part["motion"][:, :length], part["motion_rs"], 0)
    predictor, prior = model.feature_predictor, model.motion_prior.requires_grad_(False)
    latent = predictor(part["audio_rs"], g["style"].reshape(1, -1))
    close(prior.decode(prior.bottleneck(latent).latent), part["pred"])
    assert torch.equal(prior.bottleneck(prior.encode(part["motion_rs"])).indices, part["idx_ref"][:, 0])
    weights = PredictorWeights()
    total, parts = stage_two(prior, latent, part["motion_rs"], weights, rounded=True)
    for name, value in (("total", total), ("latent", parts["latent"]), ("exp", parts["expression"]),
                        ("jaw", parts["jaw"])):  # fmt: skip
        close(value, part[f"loss_{name}"], 1e-6)
    expression, jaw = split_l1(prior.decode(prior.bottleneck(latent).latent), part["motion_rs"])
    (weights.expression * expression + weights.jaw * jaw).backward()
    for name, weight in (
        ("style", predictor.style_embedding.weight),
        ("audio_map", predictor.audio_feature_map.weight),
    ):
        if f"grad_{name}_recons_only" in part:
            torch.testing.assert_close(weight.grad, part[f"grad_{name}_recons_only"], rtol=1e-4, atol=1e-7)


def test_equal_codes_give_no_latent_gradient():
    """Where the released loss pushes along rounding noise, ours is still."""
    prior = mini(2).motion_prior.requires_grad_(False)
    motion = arrays("mini_stage2")["tr17/motion_rs"]
    latent = prior.encode(motion).requires_grad_()
    _, parts = stage_two(prior, latent, motion, PredictorWeights())
    assert parts["latent"] == 0
    parts["latent"].backward()
    assert not latent.grad.any()


def test_rows_run_along_time_in_the_released_layout():
    quantiser = Quantiser(4, 8, "time")
    z = torch.arange(2 * 12.0).reshape(1, 12, 2)  # 12 frames, 2 channels
    rows = quantiser.rows(z)
    assert torch.equal(rows[0], z[0, :8, 0]) and torch.equal(rows[1], torch.cat([z[0, 8:, 0], z[0, :4, 1]]))
    assert torch.equal(quantiser.unrows(rows, z), z)
    channel = Quantiser(4, 2, "channel")
    assert torch.equal(channel.rows(z)[3], z[0, 3]) and torch.equal(channel.unrows(channel.rows(z), z), z)
