"""What `evaluate bake --rig` says: the plain fill gains nothing, the truth gains much, differences are paired."""

import pytest
import torch

from stereotalker_core.evaluation.video import bake_rig
from stereotalker_core.synthetic.data import bake_data
from stereotalker_core.video.networks.bake_network import BakeNetwork


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    bake_data.generate(folder, 2, seed=7)
    return folder


def test_the_truth_gains_and_the_fill_does_not(people, monkeypatch):
    rows = iter(bake_data.read(people))
    truth = {}

    def drawn(network, rig, lift, visibility, seed, steps, fit):
        if network == "true":
            truth["now"] = bake_data.unpacked(torch.from_numpy(next(rows).copy())).truth[None].clamp(-1, 1)
            return truth["now"]
        return lift if network == "fill" else (lift + truth["now"]) / 2

    monkeypatch.setattr(bake_rig, "sample", drawn)
    found = bake_rig.evaluate_rig({"true": "true", "same": "fill", "half": "half"}, people)
    assert found["rig_gain_same"] == {"value": 0, "low": 0, "high": 0}
    assert 10 < found["rig_psnr_fill"]["value"] < 40 < found["rig_psnr_true"]["value"]
    assert found["rig_gain_half"]["value"] == pytest.approx(6.02, abs=0.2)  # half the error
    assert found["rig_detail_true"]["value"] == pytest.approx(1, abs=1e-3)
    assert found["rig_lost_half"]["low"] > 20
    assert found["rig_gain_half_clothes"]["value"] == pytest.approx(6.02, abs=0.2)


def test_an_untrained_network_runs(people):
    found = bake_rig.evaluate_rig({"new": BakeNetwork()}, people, people=1, strength=0.5)
    assert abs(found["rig_gain_new"]["value"]) < 3 and "rig_lost_new" not in found
