"""People found in pictures of synthetic persons at any size, roll and crop; nobody where nobody is."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion.arkit import ARKIT
from stereotalker_core.perception.keypoints import NAMES, Keypoints
from stereotalker_core.perception.networks import NETWORKS, Perception
from stereotalker_core.perception.people import find_person, load_perception, people
from stereotalker_core.perception.squares import Pyramid
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import canonical_cameras, reference_portrait
from stereotalker_core.synthetic.people.render import render_avatar, rendered_keypoints
from tests.perception.drawings import DRAWINGS

SIZE = 512
BODY = HalfBody()
TRUE_NAMES = [BODY.keypoint_names[i] for i in rendered_keypoints(BODY)]


@pytest.fixture(scope="module")
def networks():
    return load_perception()


@pytest.fixture(scope="module")
def portrait():
    return reference_portrait(BODY, make_avatar(BODY, 106), 106, SIZE)  # both hands before the body


@pytest.fixture(scope="module")
def person(portrait, networks):
    (found,) = people(portrait.image, networks)
    return found


def true(portrait, name):
    return portrait.keypoints[TRUE_NAMES.index(name)]


def error(person, portrait, prefix, place=lambda xy: xy):
    """Mean distance over the face height of the found points that begin with `prefix` and are seen."""
    names = [n for n, v in zip(TRUE_NAMES, portrait.visible, strict=True) if n.startswith(prefix) and bool(v)]
    names = [n for n in names if n in person.keypoints]
    away = [float((person.keypoints.point(n) - place(true(portrait, n))).norm()) for n in names]
    return sum(away) / len(away) / person.keypoints.face_height()


def test_points_lie_where_they_are(person, portrait):
    assert error(person, portrait, "face.") < 0.03
    assert error(person, portrait, "iris.") < 0.03
    for side in ("left", "right"):  # below the cloth, so nowhere "seen"
        name = f"body.{side}_shoulder"
        away = float((person.keypoints.point(name) - true(portrait, name)).norm())
        assert away < 0.2 * person.keypoints.face_height()
    assert error(person, portrait, "hand.") < 0.15
    assert person.confidence > 0.9 and person.warnings == ()
    person.keypoints.check_front()


def test_record_is_complete_and_inside_the_picture(person, portrait):
    points = person.keypoints
    assert set(points.names) <= set(NAMES)
    assert {f"mesh.{i}" for i in range(478)} <= set(points.names) and "face.67" in points
    assert bool((points.xy >= 0).all()) and bool((points.xy <= SIZE).all()) and bool((points.sigma > 0).all())
    assert person.visibility.shape == (len(points),)
    assert float(person.visibility.min()) >= 0 and float(person.visibility.max()) <= 1
    assert person.mesh.shape == (478, 3) and person.expression.shape == (len(ARKIT),) == (52,)
    assert float(person.expression[ARKIT.index("tongueOut")]) == 0
    assert torch.allclose(points.point("iris.L"), person.mesh[473, :2])
    x0, y0, x1, y1 = person.box.tolist()
    assert 0 <= x0 < person.face_box[0] and person.face_box[3] < y1 <= SIZE and x1 > x0
    assert not person.mesh.is_inference()  # a fit may differentiate through it


def test_left_and_right_are_the_persons_own(person):
    for name in ("iris", "body.{}_shoulder"):
        left, right = (name.format(s) if "{" in name else f"{name}.{s[0].upper()}" for s in ("left", "right"))
        assert person.keypoints.point(left)[0] > person.keypoints.point(right)[0]


def test_mask_is_the_person(person, portrait):
    found, wanted = person.mask > 0.5, portrait.mask > 0.5
    assert float((found & wanted).sum() / (found | wanted).sum()) > 0.85
    assert person.mask.shape == (1, SIZE, SIZE)


def test_hands_belong_to_the_right_arms(person, portrait):
    for side in "LR":
        wrist, other = true(portrait, f"hand.{side}.0"), true(portrait, f"hand.{'R' if side == 'L' else 'L'}.0")
        found = person.keypoints.point(f"hand.{side}.0")
        assert (found - wrist).norm() < (found - other).norm()


@pytest.mark.parametrize("degrees", [45, -60, 90, 180])
def test_rolled_pictures(portrait, networks, degrees):
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0]])[None]
    grid = F.affine_grid(turn, (1, 3, SIZE, SIZE), align_corners=False)
    rolled = F.grid_sample(portrait.image[None], grid, padding_mode="border", align_corners=False)[0]
    found = max(people(rolled, networks), key=lambda p: p.confidence)

    def place(xy):
        d = xy - SIZE / 2
        return torch.stack([c * d[0] + s * d[1], -s * d[0] + c * d[1]]) + SIZE / 2

    assert error(found, portrait, "face.", place) < 0.04
    assert found.confidence > 0.6


@pytest.mark.parametrize("share", [0.12, 0.08])
def test_small_faces(portrait, networks, person, share):
    """A face of this share of the picture's height, in the corner of a large picture."""
    height = float(person.face_box[3] - person.face_box[1])
    scale = 0.5
    small = F.interpolate(portrait.image[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    side = round(scale * height / share)
    wide = torch.full((3, side, side), 0.1)
    wide[:, -small.shape[1] :, : small.shape[2]] = small[:, :side, :side]
    found = people(wide, networks)[0]
    place = lambda xy: xy * scale + torch.tensor([0.0, side - small.shape[1]])  # noqa: E731
    assert error(found, portrait, "face.", place) < 0.05


@pytest.mark.parametrize("margin", [0.0, -0.12])
def test_face_fills_or_exceeds_the_frame(portrait, networks, person, margin):
    x0, y0, x1, y1 = person.face_box.tolist()
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    x0, y0, x1, y1 = round(x0 - dx), round(y0 - dy), round(x1 + dx), round(y1 + dy)
    close = F.interpolate(portrait.image[None, :, y0:y1, x0:x1], scale_factor=4.0, mode="bicubic")[0].clamp(-1, 1)
    found = people(close, networks)[0]
    place = lambda xy: (xy - torch.tensor([float(x0), float(y0)])) * 4  # noqa: E731
    assert error(found, portrait, "face.", place) < 0.05
    if margin < 0:
        assert any("outside the picture" in warning for warning in found.warnings)
        assert len(found.keypoints) < 600


def test_grey_pictures(portrait, networks):
    found = people(portrait.image.mean(0, keepdim=True).expand(3, -1, -1), networks)[0]
    assert error(found, portrait, "face.") < 0.03 and found.confidence > 0.9


def two(portrait):
    other = reference_portrait(BODY, make_avatar(BODY, 101), 101, SIZE)
    small = F.interpolate(other.image[None], scale_factor=0.8, mode="bilinear", antialias=True)[0]
    canvas = torch.full((3, SIZE, SIZE + small.shape[2]), 0.2)
    canvas[:, :, small.shape[2] :] = portrait.image
    canvas[:, -small.shape[1] :, : small.shape[2]] = small
    return canvas, small.shape[2]


def test_two_people_are_kept_apart(portrait, networks, caplog):
    picture, edge = two(portrait)
    first, second = people(picture, networks)
    assert error(first, portrait, "face.", lambda xy: xy + torch.tensor([float(edge), 0.0])) < 0.03
    assert float(second.keypoints.xy[:, 0].max()) < edge + 20
    assert float(first.mask[0, :, :edge].mean()) < 0.1 * float(first.mask[0, :, edge:].mean())
    assert float(second.mask[0, :, edge:].mean()) < 0.1 * float(second.mask[0, :, :edge].mean())
    with caplog.at_level(logging.WARNING):
        chosen = find_person(picture, networks)
    assert "2 people" in caplog.text and "1: right" in caplog.text and "2: left" in caplog.text
    assert torch.equal(chosen.face_box, first.face_box)
    caplog.clear()
    assert torch.equal(find_person(picture, networks, 2).face_box, second.face_box)
    assert "people" not in caplog.text
    with pytest.raises(ValueError, match="person 3 does not exist; 2 found"):
        find_person(picture, networks, 3)


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_person_is_refused_with_one_line(networks, name):
    with pytest.raises(ValueError, match="no person found") as refused:
        find_person(DRAWINGS[name](), networks)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "brick", "text"])
def test_photographs_without_a_person_are_refused(networks, name):
    pixels = torch.from_numpy(pytest.importorskip("skimage.data").__getattr__(name)().copy()).float() / 127.5 - 1
    pixels = pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels
    assert people(pixels.permute(2, 0, 1), networks) == []


def test_a_body_without_a_head_is_refused(portrait, networks):
    chin = int(true(portrait, "face.8")[1])
    assert people(portrait.image[:, chin + 12 :], networks) == []


def drawn(seed, yaw, expression):
    """An avatar in the A pose seen at a yaw in degrees."""
    avatar = make_avatar(BODY, seed)
    camera = canonical_cameras(BODY, avatar.shape, torch.tensor([yaw]), SIZE)
    motion = Motion(torch.zeros(1, 49, 3), expression)
    return render_avatar(BODY, avatar, motion, camera, background=avatar.background((SIZE, SIZE)))


@pytest.mark.parametrize("yaw", [60.0, -60.0])
def test_profiles(networks, yaw):
    """Found at 60 degrees; the hidden side of the face is less visible and less certain than the seen one."""
    frames = drawn(301, yaw, torch.zeros(1, 52))
    (found,) = people(frames.rgb[0], networks)
    assert any("turned" in warning for warning in found.warnings)
    index, seen = found.keypoints.index, found.visibility
    right, left = index["face.0"], index["face.16"]  # positive yaw shows the right side
    shown, hidden = (right, left) if yaw > 0 else (left, right)
    assert seen[shown] > 0.8 > 0.5 > seen[hidden]
    assert found.keypoints.sigma[hidden] > found.keypoints.sigma[shown]
    inner = [n for n, v in zip(TRUE_NAMES, frames.visible[0], strict=True) if bool(v) and n.startswith("face.")]
    inner = [n for n in inner if int(n[5:]) >= 17]
    away = [float((found.keypoints.point(n) - frames.keypoints[0, TRUE_NAMES.index(n)]).norm()) for n in inner]
    assert sum(away) / len(away) < 0.1 * found.keypoints.face_height()


def test_closed_eyes_are_read_off_the_face(networks):
    """The blendshape network tells open from shut: a blinking avatar against itself."""
    lids = []
    for shut in (0.0, 1.0):
        expression = torch.zeros(1, 52)
        expression[:, [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]] = shut
        (found,) = people(drawn(106, 0.0, expression).rgb[0], networks)
        lids.append(float(found.expression[ARKIT.index("eyeBlinkLeft")]))
    assert lids[1] > lids[0] + 0.3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_too(portrait, person):
    networks = load_perception("cuda")
    (found,) = people(portrait.image.cuda(), networks)
    assert found.mask.is_cuda and found.keypoints.xy.is_cuda
    assert float((found.mesh.cpu() - person.mesh).abs().max()) < 1.0
    assert networks.to("cpu").device == torch.device("cpu")


def test_networks_move_and_keep_their_names(networks):
    assert [name for name, _ in networks.named_children()] == list(NETWORKS)
    doubled = Perception(networks.config).double()
    assert next(doubled.buffers()).dtype == torch.float64
    with pytest.raises(ValueError, match="the networks must be"):
        Perception(Perception.Config(networks.config.graphs[1:]))


def test_tiny_and_empty_pictures(networks):
    assert people(torch.zeros(3, 8, 300), networks) == []
    assert Pyramid(torch.zeros(3, 5, 5)).levels[0].shape == (1, 3, 5, 5)
    with pytest.raises(ValueError):
        people(torch.zeros(1, 3, 8, 8), networks)


def test_points_outside_are_left_out(person):
    assert isinstance(person.keypoints, Keypoints)
    assert "body.left_hip" not in person.keypoints or float(person.keypoints.point("body.left_hip")[1]) <= SIZE
