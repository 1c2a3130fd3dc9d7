import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stereotalker_core.body.fitting import outline
from stereotalker_core.body.fitting.fit import fit_points, fit_portrait, gather_evidence
from stereotalker_core.body.fitting.fit_pose import fit_pose
from stereotalker_core.body.fitting.fit_shell import ShellSolver, fit_shell, outer_contour, silhouette_iou
from stereotalker_core.body.fitting.outline import follow_outline, outline_of
from stereotalker_core.body.fitting.point_model import PointModel
from stereotalker_core.body.fitting.pose_parameters import DISTANCE, Parameters
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.body.shell_prior import load_shell_prior
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.image import load_portrait
from stereotalker_core.perception.keypoints import SPARSE_NAMES, Keypoints, load_keypoints
from stereotalker_core.perception.networks import load_perception
from stereotalker_core.pixels.inpaint import paint_out
from stereotalker_core.synthetic.movement.poses import ArmAngles, arm_pose, head_pose, joint_heads

SIZE = (192, 192)
ASTRONAUT = Path(__file__).parents[2] / "data" / "astronaut_keypoints.json"
POINTS = tuple(n for n in SPARSE_NAMES if not n.startswith("hand.") and not n.endswith("hip"))


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def person(body):
    """A known person with hair and clothes: body parameters, keypoints and mask of the portrait."""
    generator = torch.Generator().manual_seed(3)
    shape = 0.7 * torch.randn(body.n_shape, generator=generator)
    rotations = torch.zeros(49, 3)
    rotations[JOINT_INDEX["head"]] = torch.tensor([0.05, 0.05, 0.15])
    for side, sign in (("L", 1), ("R", -1)):
        rotations[JOINT_INDEX[f"upperarm01.{side}"], 1] = 0.5 * sign
    expression = torch.zeros(52)
    expression[body.expression_index["jawOpen"]] = 0.4
    part = torch.zeros(body.n_vertices, dtype=torch.long)
    part[body.triangles.flatten()] = body.triangle_part.repeat_interleave(3)
    shell = torch.zeros(body.n_vertices)
    for name, offset in (("torso", 0.012), ("arm.L", 0.01), ("arm.R", 0.01), ("hips", 0.012), ("scalp", 0.025)):
        shell[part == body.part_index[name]] = offset
    bare = body.pose(body.rest(shape[None]), rotations[None], expression[None])
    dressed = body.pose(body.rest(shape[None], shell[None]), rotations[None], expression[None])
    target = torch.tensor([0.0, -0.02, float(body.bone_mean[body.bone_index["head"], 2]) - 0.21])
    camera = look_at(target, torch.tensor([10.0]), torch.zeros(1), torch.full((1,), 2.2))[0]
    intrinsics = intrinsics_for(0.9, 2.2, SIZE)
    pixels = project(dressed.vertices, camera[None], intrinsics)
    mask = (rasterize(pixels, body.triangles, SIZE).depth > 0).float()
    points = project(body.keypoints(bare.vertices, bare.bones), camera[None], intrinsics)[0]
    xy = points[[body.keypoint_index[n] for n in POINTS], :2]
    keypoints = Keypoints(POINTS, xy, torch.full((len(POINTS),), 0.5))
    return {"keypoints": keypoints, "mask": mask, "expression": expression, "shell": shell, "rotations": rotations}


@pytest.fixture(scope="module")
def fitted(body, person):
    return fit_pose(body, person["keypoints"], SIZE, iterations=(6, 12))


def test_point_model_is_the_body(body):
    parameters = Parameters(body, hands=False)
    generator = torch.Generator().manual_seed(0)
    x = parameters.mean + 0.5 * parameters.sigma.clamp(max=1) * torch.randn(len(parameters.mean), generator=generator)
    x[parameters.slices["expression"]] = x[parameters.slices["expression"]].clamp(0, 1)
    model = PointModel(body, parameters, ("face.30", "body.left_elbow"), torch.tensor([17]))
    translation, rotations, shape, expression = parameters.unpack(x)
    posed = body.pose(body.rest(shape[None]), rotations[None], expression[None])
    points = body.keypoints(posed.vertices, posed.bones)[0]
    wanted = torch.stack(
        [points[body.keypoint_index[n]] for n in ("face.30", "body.left_elbow")] + [posed.vertices[0, 17]]
    )
    wanted = torch.stack([wanted[:, 0], -wanted[:, 2], wanted[:, 1]], 1) + translation  # camera axes of the fit
    assert torch.allclose(model(x), wanted, atol=1e-5)


def test_fitted_poses_move_joints_together_as_motions_do(body):
    """A nod is shared by neck and skull, a shoulder follows its lowered arm, an elbow is a hinge: as in `poses`."""
    parameters = Parameters(body, hands=False)
    heads = joint_heads(body, body.rest(torch.zeros(1, body.n_shape)))

    def pose(**turned):  # degrees along groups of the fit's parameters, small enough to add up
        x = torch.zeros_like(parameters.mean)
        for name, angles in turned.items():
            x[parameters.slices[name.replace("_", ".")]] = torch.deg2rad(torch.tensor(angles))
        return parameters.unpack(x)[1]

    torch.testing.assert_close(pose(neck=[2.0, 0.0, 0.0]), head_pose(2.0)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(pose(neck=[0.0, 0.0, 3.0]), head_pose(0.0, 3.0)[0], atol=1e-5, rtol=0)
    still = ArmAngles(lower=0.0, elbow=0.0, curl=0.0, thumb=0.0)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        lowered, bent = (arm_pose(heads, side, replace(still, **kind))[0] for kind in ({"lower": 5.0}, {"elbow": 5.0}))
        fitted = pose(**{f"upperarm_{side}": [0.0, 5.0 * sign, 0.0]})
        torch.testing.assert_close(fitted, lowered, atol=1e-5, rtol=0)
        torch.testing.assert_close(pose(**{f"elbow_{side}": [5.0]}), bent, atol=1e-5, rtol=0)
        rolled = arm_pose(heads, side, replace(still, roll=6.0))[0]
        torch.testing.assert_close(pose(**{f"twist_{side}": [3.0 * sign]}), rolled, atol=1e-5, rtol=0)


def test_clean_keypoints_are_recovered(body, person, fitted):
    assert float(fitted.error.mean()) < 0.5
    jaw = body.expression_index["jawOpen"]
    assert abs(float(fitted.expression[jaw]) - 0.4) < 0.15
    seen = fitted.rotations[:, 2][
        [JOINT_INDEX[n] for n in ("root", "spine03", "spine01", "neck01", "neck02", "neck03")]
    ]
    turn = float(seen.sum() + fitted.rotations[JOINT_INDEX["head"], 2])
    # the camera stands 10 degrees to the person's right: in front of the camera the head is turned by head + camera
    assert abs(turn - (0.15 + 0.1745)) < 0.06
    assert float(fitted.rotations[JOINT_INDEX["upperarm01.L"], 1]) > 0.25


def test_a_wild_point_does_not_spoil_the_fit(body, person, fitted):
    xy = person["keypoints"].xy.clone()
    xy[POINTS.index("face.5")] += 40
    wild = fit_pose(body, replace(person["keypoints"], xy=xy), SIZE, iterations=(6, 12))
    others = [i for i, n in enumerate(POINTS) if n != "face.5"]
    assert float(wild.error[others].mean()) < 1.0


def test_shell_reaches_the_silhouette(body, person, fitted):
    mask = person["mask"]
    bare = silhouette_iou(body, fitted.posed(body), fitted.world_to_camera, fitted.intrinsics, mask)
    shell = fit_shell(body, fitted, mask, fitted.intrinsics, iterations=4)
    dressed = silhouette_iou(body, fitted.posed(body, shell), fitted.world_to_camera, fitted.intrinsics, mask)
    assert dressed > 0.97 and dressed > bare + 0.05
    assert torch.allclose(shell, shell[body.mirror], atol=2e-3)
    scalp = torch.unique(body.triangles[body.triangle_part == body.part_index["scalp"]])
    assert float(shell[scalp].mean()) > 0.012


def test_contour_gap_is_the_distance_to_the_mask(body, fitted):
    posed = fitted.posed(body)
    pixels = project(posed.vertices, fitted.world_to_camera[None], fitted.intrinsics)
    mask = (rasterize(pixels, body.triangles, SIZE).depth > 0).float()
    same = outer_contour(body, posed, fitted.world_to_camera, fitted.intrinsics, mask)
    assert int(same.found.sum()) > 100 and float(same.gap[same.found].abs().median()) < 1.0
    grown = torch.nn.functional.max_pool2d(mask[None], 9, 1, 4)[0]
    wide = outer_contour(body, posed, fitted.world_to_camera, fitted.intrinsics, grown)
    assert 3.0 < float(wide.gap[wide.found].median()) < 6.0


def test_shell_solver_minimises_its_energy(body):
    solver = ShellSolver(body)
    vertices = torch.arange(0, body.n_vertices, 37)
    offset = 0.01 + 0.005 * torch.sin(vertices.float())
    weight = torch.full_like(offset, 4.0)
    zero = torch.zeros(body.n_vertices)
    coarse, fine = (solver.solve(vertices, offset, weight, zero, n) for n in (20, 400))

    def energy(s):
        a, b = solver.edges.unbind(1)
        # every data term counts half again at the mirrored vertex, as in the solver
        data = (weight * (s[vertices] - offset) ** 2).sum() + (
            0.5 * weight * (s[body.mirror[vertices]] - offset) ** 2
        ).sum()
        return float(data + (solver.stiffness * (s[a] - s[b]) ** 2).sum() + (solver.rest * s**2).sum())

    generator = torch.Generator().manual_seed(0)
    assert energy(fine) <= energy(coarse) * 1.001
    bump = 1e-3 * torch.randn(body.n_vertices, generator=generator)
    assert energy(fine) < energy(fine + bump + bump[body.mirror])


def test_portrait_becomes_an_identity(body, person):
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(3, *SIZE, generator=generator) * 2 - 1
    identity = fit_portrait(
        body,
        image,
        person["keypoints"],
        person["mask"],
        lifter=Lifter(body, 128),
        iterations=(5, 8),
        shell_iterations=3,
    )
    assert identity.atlas.shape == (3, 128, 128) and identity.visibility.shape == (1, 128, 128)
    assert 0.5 < identity.quality <= 1
    assert torch.equal(identity.portrait, image)
    away = person["mask"][0] == 0
    far = torch.nn.functional.max_pool2d(person["mask"][None], 15, 1, 7)[0, 0] == 0
    assert torch.allclose(identity.background[:, far & away], image[:, far & away])


def test_background_hides_the_person():
    image = -torch.ones(3, 64, 64)
    image[:, 20:44, 20:44] = 1
    mask = (image[:1] > 0).float()
    assert float(paint_out(image, mask).max()) < -0.9
    everywhere = paint_out(image, torch.ones(1, 64, 64))
    assert bool(torch.isfinite(everywhere).all())


def test_bad_input_is_refused(body, person, caplog):
    image = torch.zeros(3, *SIZE)
    keypoints, mask = person["keypoints"], person["mask"]
    scrambled = keypoints.xy[torch.randperm(len(keypoints), generator=torch.Generator().manual_seed(1))]
    eyes = [
        POINTS.index(n) for n in ("iris.R", "iris.L", "face.27", "face.8", "body.left_shoulder", "body.right_shoulder")
    ]
    scrambled[eyes] = keypoints.xy[eyes]
    with pytest.raises(ValueError, match="no person fits"):
        fit_portrait(body, image, replace(keypoints, xy=scrambled), mask, iterations=(4, 4))
    with pytest.raises(ValueError, match="mask is empty"):
        fit_portrait(body, image, keypoints, torch.zeros(1, *SIZE), iterations=(4, 4))
    with pytest.raises(ValueError, match="at least"):
        fit_portrait(body, torch.zeros(3, 20, 20), keypoints, torch.zeros(1, 20, 20))
    inverse = gather_evidence(image, keypoints, 1 - mask, None, None).mask
    assert torch.equal(inverse, 1 - (1 - mask)) and "inverse is used" in caplog.text
    with pytest.raises(ValueError, match="no face points"):
        fit_portrait(body, image, keypoints.subset(["body.left_shoulder", "body.right_shoulder"]), mask)


def test_real_photo(body):
    """A photo nobody was trained on (NASA, public domain): keypoints by hand, mask from the fit and the colours."""
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1).float() / 127.5 - 1
    photo = torch.nn.functional.interpolate(photo[None], (256, 256), mode="area")[0]
    keypoints = load_keypoints(ASTRONAUT, 256, 256)
    identity = fit_portrait(body, photo, keypoints, lifter=Lifter(body, 256))
    assert identity.quality > 0.8
    assert float(identity.expression[body.expression_index["mouthSmileLeft"]]) > 0.3  # she smiles
    mask = identity.mask[0]
    assert float(mask[20:60, 95:130].mean()) > 0.95 and float(mask[30:50, 82:88].mean()) > 0.8  # face, hair beside it
    assert float(mask[:60, :40].mean()) < 0.05 and float(mask[:60, 180:].mean()) < 0.05  # flag, rocket


def test_a_face_that_the_perception_doubts_is_said_and_lowers_the_quality(body, inputs, caplog):
    small = {"lifter": Lifter(body, 64), "iterations": (3, 4), "shell_iterations": 1, "networks": load_perception()}
    sharp = load_portrait(inputs.portrait).image
    with caplog.at_level(logging.WARNING):
        sure = fit_portrait(body, sharp, **small)
        assert "little certainty" not in caplog.text and sure.quality > 0.5
        blurred = torch.nn.functional.avg_pool2d(sharp[None], 9, 1, 4)[0]
        unsure = fit_portrait(body, blurred, **small)
    assert "little certainty" in caplog.text and unsure.quality < 0.9 * sure.quality


def test_body_and_fit_inside_of_inference_mode(person):
    """ComfyUI runs nodes in inference mode: tensors made there must do, and change nothing."""
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(5)) * 2 - 1
    results = []
    for inside in (True, False):
        with torch.inference_mode(inside):
            body = HalfBody()
            results.append(
                fit_portrait(
                    body,
                    image.clone(),
                    person["keypoints"],
                    person["mask"].clone(),
                    lifter=Lifter(body, 64),
                    iterations=(3, 4),
                    shell_iterations=2,
                )
            )
    inside, outside = results
    assert torch.equal(inside.shape, outside.shape) and torch.equal(inside.shell, outside.shell)
    assert torch.equal(inside.atlas, outside.atlas) and inside.quality == outside.quality


def test_outline_and_prior_find_hair_and_clothes(body, person, fitted):
    """The portrait's outline tells more than the keypoints: hair and clothes come out nearer to the true ones."""
    outline = outline_of(person["mask"], fitted.intrinsics)
    fit = follow_outline(body, fitted, person["keypoints"], outline, None)
    bare = silhouette_iou(body, fitted.posed(body), fitted.world_to_camera, fitted.intrinsics, person["mask"])
    dressed = silhouette_iou(body, fit.posed(body, fit.shell), fit.world_to_camera, fit.intrinsics, person["mask"])
    assert dressed > max(0.95, bare + 0.04)
    assert float(fit.error.mean()) < 2.0  # and the keypoints are still met
    prior = load_shell_prior()
    assert fit.shell.shape == (body.n_vertices,) and float(fit.coefficients.abs().max()) <= 3
    assert torch.allclose(fit.shell, prior.offsets(fit.coefficients))


def test_the_trunk_turns_as_its_outline_tells(body, monkeypatch):
    """A face mesh must not hold the trunk: people whose trunk is turned and whose face is not are found turned."""
    errors = {1.0: [], 4.0: []}
    for turn in (-16.0, 14.0):
        keypoints, mask = _turned(body, turn)
        for looser, found in errors.items():
            monkeypatch.setattr(outline, "_LOOSER", looser)
            fit = fit_pose(body, keypoints, SIZE)
            fit = follow_outline(body, fit, keypoints, outline_of(mask, fit.intrinsics), torch.zeros(52))
            bones = fit.posed(body).bones[0]
            left, right = (bones[body.bone_index[f"upperarm01.{side}"]] for side in "LR")
            across = fit.world_to_camera[:3, :3] @ (left - right)
            found.append(abs(math.degrees(math.atan2(float(across[2]), float(across[0]))) - turn))
            assert abs(float(fit.world_to_camera[2, 3]) - DISTANCE) < 0.2
    assert sum(errors[4.0]) / 2 < 3 and sum(errors[4.0]) < sum(errors[1.0]) + 0.5  # 1.4 and 2.0 degrees


def _turned(body, degrees):
    """Return the mesh, shoulder and elbow points and the mask of a person whose trunk alone is turned to their left."""
    rotations = torch.zeros(49, 3)
    rotations[JOINT_INDEX["root"], 2] = math.radians(degrees)
    for share, joint in ((0.25, "neck01"), (0.25, "neck02"), (0.25, "neck03"), (0.25, "head")):
        rotations[JOINT_INDEX[joint], 2] = -share * math.radians(degrees)
    for side, sign in (("L", 1), ("R", -1)):
        rotations[JOINT_INDEX[f"upperarm01.{side}"], 1] = 0.5 * sign
    rest = body.rest(torch.zeros(1, body.n_shape), load_shell_prior().mean[None])
    posed = body.pose(rest, rotations[None])
    camera = look_at(torch.tensor([0.0, -0.02, 0.45]), torch.zeros(1), torch.zeros(1), torch.full((1,), 2.2))[0]
    intrinsics = intrinsics_for(0.9, 2.2, SIZE)
    mask = (rasterize(project(posed.vertices, camera[None], intrinsics), body.triangles, SIZE).depth > 0).float()
    bare = body.pose(body.rest(torch.zeros(1, body.n_shape)), rotations[None])
    mesh = (bare.vertices[0, body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    names = ("body.left_shoulder", "body.right_shoulder", "body.left_elbow", "body.right_elbow")
    points = body.keypoints(bare.vertices, bare.bones)[0, [body.keypoint_index[n] for n in names]]
    pixels = project(torch.cat([mesh, points])[None], camera[None], intrinsics)[0, :, :2]
    pixels = pixels + 0.3 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(6))
    found = Keypoints((*(f"mesh.{i}" for i in range(len(mesh))), *names), pixels, torch.full((len(pixels),), 1.0))
    return fit_points(found), mask


def test_shell_prior_is_a_symmetric_basis(body):
    prior = load_shell_prior()
    assert torch.allclose(prior.mean, prior.mean[body.mirror], atol=2e-5)
    gram = prior.basis.T @ prior.basis
    off = gram - torch.diag(gram.diagonal())
    assert float(off.abs().max()) < 0.05 * float(gram.diagonal()[0])  # not 0: the chest was smoothed after the PCA
    face = torch.unique(body.triangles[body.triangle_part == body.part_index["eye.L"]])
    assert float(prior.basis[face].abs().max()) < 1e-4  # nobody wears hair on the eyes


def test_quality_falls_with_the_error(body, person):
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(len(POINTS), 2, generator=generator)
    image, qualities = torch.zeros(3, *SIZE), []
    for pixels in (0.0, 1.5):
        moved = replace(person["keypoints"], xy=person["keypoints"].xy + pixels * noise)
        identity = fit_portrait(
            body, image, moved, person["mask"], lifter=Lifter(body, 64), iterations=(4, 6), shell_iterations=1
        )
        qualities.append(identity.quality)
    assert qualities[0] > qualities[1] + 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_runs_on_cuda(person):
    body = HalfBody().cuda()
    identity = fit_portrait(
        body, torch.zeros(3, *SIZE), person["keypoints"], person["mask"], lifter=Lifter(body, 128), iterations=(4, 4)
    )
    assert identity.atlas.device.type == "cuda" and identity.shell.device.type == "cuda"
