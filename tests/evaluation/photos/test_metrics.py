"""Every figure of `evaluate photos` on faces, pictures and hands whose answer is known, the bad ones among them."""

import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.evaluation.photos import backdrop, metrics
from stereotalker_core.evaluation.photos import frames as photo_frames
from stereotalker_core.evaluation.photos import hands as photo_hands
from stereotalker_core.evaluation.photos import identity as photo_identity
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.perception.hands import Hand
from stereotalker_core.records import Motion

EYE_Y, RADIUS = 120.0, 7.0  # px


def turned(points: torch.Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    angle = torch.tensor(math.radians(degrees))
    matrix = scale * torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return points @ matrix.T + torch.tensor(shift)


def face(opening: float = 0.3, lips: float = 0.0) -> torch.Tensor:
    """478 points whose compared ones lie as in a face of 256 px; eyes 36 px wide, their middles 72 px apart."""
    mesh = torch.rand(478, 2, generator=torch.Generator().manual_seed(1)) * 8 + 150
    for outer, inner, side in ((74.0, 110.0, "R"), (182.0, 146.0, "L")):
        contour = metrics.EYES[side]
        half = opening * 18
        for k, index in enumerate(contour):
            along = k / 8 if k <= 8 else (16 - k) / 8
            up = -1 if k <= 8 else 1
            # flat in the middle, so that the three heights that are measured are the opening itself
            rise = half * min(1.0, 4 * min(along, 1 - along))
            mesh[index] = torch.tensor([outer + (inner - outer) * along, EYE_Y + up * rise])
        middle = torch.tensor([(outer + inner) / 2, EYE_Y])
        rim = ((0.0, 0.0), (RADIUS, 0.0), (0.0, RADIUS), (-RADIUS, 0.0), (0.0, -RADIUS))
        for index, offset in zip(metrics.IRISES[side], rim, strict=True):
            mesh[index] = middle + torch.tensor(offset)
    for k, index in enumerate(metrics.OVAL):
        angle = 2 * math.pi * k / len(metrics.OVAL)
        mesh[index] = torch.tensor([128 + 80 * math.sin(angle), 140 - 100 * math.cos(angle)])
    for x, (upper, lower) in zip((118.0, 128.0, 138.0), ((82, 87), (13, 14), (312, 317)), strict=True):
        mesh[upper], mesh[lower] = torch.tensor([x, 190 - 30 * lips]), torch.tensor([x, 190 + 30 * lips])
    mesh[61], mesh[291] = torch.tensor([98.0, 190.0]), torch.tensor([158.0, 190.0])
    for polygon, x in zip(metrics.CHEEKS, (80.0, 176.0), strict=True):
        for index, (dx, dy) in zip(polygon, ((-10, -10), (10, -10), (10, 10), (-10, 10)), strict=True):
            mesh[index] = torch.tensor([x + dx, 165.0 + dy])
    return mesh


def picture(mesh: torch.Tensor, white: float = 0.9, iris: float = 0.2, skin: float = 0.6) -> torch.Tensor:
    """A grey face of 256 px with eyes of these luma values, and some texture on the skin."""
    wave = 0.04 * torch.sin(torch.arange(256) * 1.3)
    value = torch.full((256, 256), skin) + wave[:, None] + wave[None]
    for side, contour in metrics.EYES.items():
        open_ = metrics.inside(mesh[list(contour)], (256, 256))
        ball = metrics.distance_to(mesh[metrics.IRISES[side][0]], (256, 256)) < RADIUS
        value = torch.where(open_, torch.where(ball, iris, white), value)
    return value.expand(3, -1, -1) * 2 - 1


def hand(x: float, y: float, presence: float = 0.9, size: float = 40.0) -> Hand:
    """21 points of an open hand, fingers up."""
    points = torch.zeros(21, 2)
    for finger in range(5):
        for joint in range(4):
            points[1 + 4 * finger + joint] = torch.tensor([(finger - 2) * 0.3, -0.6 - 0.3 * joint])
    return Hand(points * size + torch.tensor([x, y]), presence, 0.5)


def test_landmarks_do_not_mind_place_size_and_roll():
    mesh = face()
    assert metrics.landmark_error(turned(mesh, 20, 1.7, (30, -5)), mesh) < 1e-4


def test_landmarks_that_moved_are_found_out():
    mesh = face()
    lower = mesh.clone()
    lower[list(metrics.JAW), 1] += 20  # a longer chin
    assert metrics.landmark_error(lower, mesh) > 0.05
    generator = torch.Generator().manual_seed(0)
    for pixels in (2.0, 6.0):
        noisy = mesh + pixels * torch.randn(mesh.shape, generator=generator)
        expected = pixels * math.sqrt(math.pi / 2) / 72  # mean of a Rayleigh distribution over the eyes' distance
        assert metrics.landmark_error(noisy, mesh) == pytest.approx(expected, rel=0.12)


def test_squeezed_and_torn_open_lids():
    assert metrics.eye_opening(face(0.3), face(0.3)) == pytest.approx(1, abs=1e-4)
    assert metrics.eye_opening(face(0.15), face(0.3)) == pytest.approx(0.5, abs=1e-4)
    assert metrics.eye_opening(face(0.45), face(0.3)) == pytest.approx(1.5, abs=1e-4)
    assert metrics.lid_opening(turned(face(0.3), 35, 2, (0, 0))) == pytest.approx(0.3, abs=1e-4)
    assert math.isnan(metrics.eye_opening(face(0.3), face(0.05)))  # the photograph's eyes are shut


def test_lips_apart_and_together():
    assert metrics.lip_opening(face(lips=0.0)) == 0
    assert metrics.lip_opening(face(lips=0.2)) == pytest.approx(0.2, abs=1e-5)


def test_contrast_of_white_and_iris():
    mesh = face(0.6)
    assert metrics.white_minus_iris(picture(mesh), mesh) == pytest.approx(0.7, abs=0.04)
    assert metrics.iris_contrast(picture(mesh), mesh, picture(mesh), mesh) == pytest.approx(1, abs=1e-3)
    dull = picture(mesh, white=0.55)
    assert metrics.iris_contrast(dull, mesh, picture(mesh), mesh) == pytest.approx(0.5, abs=0.05)


def test_a_black_slit_and_a_skin_coloured_eye_have_no_contrast():
    mesh = face(0.6)
    for colour in (0.05, 0.6):
        slit = picture(mesh, white=colour, iris=colour)
        assert abs(metrics.iris_contrast(slit, mesh, picture(mesh), mesh)) < 0.05
    shut = face(0.02)
    assert abs(metrics.iris_contrast(picture(shut), shut, picture(mesh), mesh)) < 0.05
    closed = face(0.0)
    assert metrics.iris_contrast(picture(closed), closed, picture(mesh), mesh) == 0
    glasses = picture(mesh, white=0.1, iris=0.1)
    assert math.isnan(metrics.iris_contrast(picture(mesh), mesh, glasses, mesh))


def test_contrast_is_compared_at_the_drawn_size():
    mesh = face(0.6)
    large = F.interpolate(picture(mesh)[None], scale_factor=3, mode="bicubic")[0]
    assert metrics.iris_contrast(picture(mesh), mesh, large, 3 * mesh) == pytest.approx(1, abs=0.05)


def test_a_blurred_face_lacks_detail_and_a_noisy_one_has_too_much():
    mesh = face()
    sharp = picture(mesh)
    assert metrics.face_detail(sharp, mesh, sharp, mesh) == pytest.approx(1, abs=1e-4)
    blurred = F.avg_pool2d(F.pad(sharp[None], (2,) * 4, mode="replicate"), 5, 1)[0]
    assert metrics.face_detail(blurred, mesh, sharp, mesh) < 0.6
    noisy = sharp + 0.2 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    assert metrics.face_detail(noisy, mesh, sharp, mesh) > 1.5
    outside = sharp.clone()
    outside[:, :20] = torch.rand(3, 20, 256, generator=torch.Generator().manual_seed(0))
    assert metrics.face_detail(outside, mesh, sharp, mesh) == pytest.approx(1, abs=1e-4)  # not of the face


def test_likeness_looks_inside_the_matte_only():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 64, 64, generator=generator) * 1.6 - 0.8
    matte = torch.zeros(1, 64, 64)
    matte[:, 16:48, 16:48] = 1
    off = image + 0.02
    psnr, ssim = metrics.self_likeness(off, image, matte)
    assert psnr == pytest.approx(40, abs=0.05) and ssim > 0.99
    elsewhere = torch.where(matte > 0, off, torch.zeros(()))
    assert metrics.self_likeness(elsewhere, image, matte)[0] == pytest.approx(40, abs=0.05)
    other = torch.rand(3, 64, 64, generator=generator) * 1.6 - 0.8
    psnr, ssim = metrics.self_likeness(other, image, matte)
    assert psnr < 15 and ssim < 0.2
    assert all(map(math.isnan, metrics.self_likeness(off, image, torch.zeros(1, 64, 64))))


def test_lab_of_known_colours():
    colours = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, -1]]).T
    expected = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]).T
    torch.testing.assert_close(metrics.lab(colours), expected, atol=0.05, rtol=0)


def test_three_hands_are_three_and_one_found_thrice_is_one():
    three = [hand(60, 200), hand(200, 200), hand(130, 90)]
    assert len(photo_hands.distinct_hands(three)) == 3
    again = [hand(62, 203, 0.95), hand(58, 196, 0.7), hand(60, 200)]
    kept = photo_hands.distinct_hands(again)
    assert len(kept) == 1 and kept[0].presence == 0.95
    side_by_side = [hand(60, 200), hand(108, 200)]
    assert len(photo_hands.distinct_hands(side_by_side)) == 2


def test_finger_tips_inside_of_a_hand_are_no_second_hand():
    whole = torch.rand(21, 2, generator=torch.Generator().manual_seed(1)) * 100
    tips = torch.tensor([70.0, 10.0]) + torch.rand(21, 2, generator=torch.Generator().manual_seed(2)) * 25
    found = photo_hands.distinct_hands([Hand(whole, 0.9, 0.5), Hand(tips, 0.95, 0.5)])
    assert len(found) == 1 and bool((found[0].points == whole).all())  # the whole hand, though the tips are surer
    beside = photo_hands.distinct_hands([Hand(whole, 0.9, 0.5), Hand(tips + 90, 0.95, 0.5)])
    assert len(beside) == 2



def test_hands_are_compared_with_the_motion():
    meant = {"L": hand(200, 200).points, "R": hand(60, 200).points}
    errors, wanted = photo_hands.hand_errors([hand(63, 204), hand(200, 200)], meant, 100.0, (256, 256))
    assert wanted == 2 and sorted(errors) == pytest.approx([0, 0.05], abs=1e-4)
    errors, wanted = photo_hands.hand_errors([hand(60, 200), hand(130, 130)], meant, 100.0, (256, 256))
    assert wanted == 2 and errors == pytest.approx([0], abs=1e-4)  # the other found hand is nobody's
    beyond = {"L": hand(250, 200).points, "R": hand(60, 200).points}
    assert photo_hands.hand_errors([], beyond, 100.0, (256, 256)) == ([], 1)


def test_hand_colours():
    mesh = face()
    image = torch.zeros(3, 256, 256) + torch.tensor([0.6, 0.2, 0.0])[:, None, None]
    assert photo_hands.hand_tone(image, [hand(60, 250)], mesh) == pytest.approx(0, abs=1e-3)
    dark = image.clone()
    dark[:, 200:] = torch.tensor([0.1, -0.3, -0.5])[:, None, None]
    assert photo_hands.hand_tone(dark, [hand(60, 250)], mesh) > 15
    # a third of the light, by sRGB's own curve, is the same skin; another skin is another in any light
    linear = ((image / 2 + 0.5 + 0.055) / 1.055) ** 2.4
    shade = image.clone()
    shade[:, 200:] = (((linear / 3).clamp_min(1e-6) ** (1 / 2.4)) * 1.055 - 0.055)[:, 200:] * 2 - 1
    assert photo_hands.hand_tone(shade, [hand(60, 250)], mesh) > 15
    assert photo_hands.hand_tone(shade, [hand(60, 250)], mesh, same_light=True) < 0.5
    green = image.clone()
    green[:, 200:] = torch.tensor([0.2, 0.6, 0.0])[:, None, None]
    assert photo_hands.hand_tone(green, [hand(60, 250)], mesh, same_light=True) > 30
    assert math.isnan(photo_hands.hand_tone(image, [], mesh))


def studio(noise: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    """A head and shoulders before a graded backdrop, and their true mask."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 200), torch.linspace(0, 1, 160), indexing="ij")
    wall = torch.stack([0.2 + 0.3 * y, 0.3 + 0.3 * y - 0.1 * x, 0.5 + 0.2 * y + 0.1 * x])
    head = ((x - 0.5) / 0.2) ** 2 + ((y - 0.4) / 0.25) ** 2 < 1
    person = head | ((y > 0.7) & ((x - 0.5).abs() < 0.2 + (y - 0.7)))
    colour = torch.stack([0.7 - 0.4 * (y > 0.7), 0.5 - 0.3 * (y > 0.7), 0.4 - 0.2 * (y > 0.7)])
    image = torch.where(person, colour, wall)
    image = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return image * 2 - 1, person[None].float()


def test_the_key_is_the_person_and_shows_a_wrong_mask():
    image, person = studio()
    coarse = F.avg_pool2d(person[None], 9, 1, 4)[0]
    key = backdrop.key_of(image, coarse)
    assert metrics.intersection_over_union(key, person) > 0.985
    wide = F.max_pool2d(person[None], 13, 1, 6)[0]
    assert metrics.intersection_over_union(wide, key) < 0.88


def test_no_key_where_it_cannot_be_trusted():
    image, person = studio()
    coarse = F.avg_pool2d(person[None], 9, 1, 4)[0]
    room = image + torch.sign(torch.sin(torch.arange(160) / 3.0)) * 0.2 * (1 - person)
    assert backdrop.key_of(room, coarse) is None  # stripes are no smooth backdrop
    camouflage = torch.where(person > 0, backdrop.smooth_backdrop(image, person[0] < 0.5)[0], image)
    assert backdrop.key_of(camouflage, coarse) is None
    assert backdrop.key_of(image, torch.ones_like(coarse)) is None  # nothing is known to be backdrop


def test_spreading_stops_at_walls():
    room = torch.ones(9, 9, dtype=torch.bool)
    room[4] = False
    seed = torch.zeros_like(room)
    seed[0, 0] = True
    reached = backdrop.spread(seed, room)
    assert int(reached.sum()) == 36 and not bool(reached[5:].any())


def test_face_chips_are_upright_and_of_one_size():
    """A ramp across a face that is rolled by 30 degrees runs along x in the chip, whatever the picture's scale."""
    for scale in (60.0, 240.0):  # px of dlib's unpadded face: smaller and larger than the chip
        mesh = torch.zeros(478, 2)
        places = torch.tensor(photo_identity._PLACES)
        mesh[list(photo_identity._MESH)] = turned(places - 0.5, 30, scale, (300.0, 280.0))
        y, x = torch.meshgrid(torch.arange(600) + 0.5, torch.arange(600) + 0.5, indexing="ij")
        across = (math.cos(math.radians(30)) * (x - 300) + math.sin(math.radians(30)) * (y - 280)) / scale
        chip = photo_identity.face_chip(across.expand(3, -1, -1), mesh)
        expected = ((torch.arange(150) + 0.5) / 150 - 0.5) * 1.5
        assert chip.shape == (3, 150, 150)
        torch.testing.assert_close(chip[0], expected.expand(150, -1), atol=0.02, rtol=0)


def test_shots_are_moments_of_the_motion():
    expression = torch.zeros(100, 52)
    jaw = ARKIT_INDEX["jawOpen"]
    expression[:, jaw] = 0.3
    expression[40, jaw], expression[70, jaw] = 0.01, 0.9
    motion = Motion(torch.zeros(100, 49, 3), expression)
    plan = photo_frames.shots(motion, half_body=True)
    assert (plan["shut"].moment, plan["open"].moment) == (40, 70)
    assert {shot.yaw for shot in plan.values()} == {0, -40, -30, -20, 20, 30, 40, -60, 60}
    assert sum(shot.framing != "portrait" for shot in plan.values()) == 4
    assert len(photo_frames.shots(motion, half_body=False)) == 10
    assert len(photo_frames.shots(motion, half_body=False, quick=True)) == 5


def test_of_shut_mouths_the_one_without_a_nod_is_judged():
    expression, rotations = torch.zeros(50, 52), torch.zeros(50, 49, 3)
    expression[:, ARKIT_INDEX["jawOpen"]] = 0.3
    expression[10:20, ARKIT_INDEX["jawOpen"]] = 0.01
    rotations[:, JOINT_INDEX["head"], 0] = 0.1
    rotations[16, JOINT_INDEX["head"], 0] = 0.01
    rotations[30, JOINT_INDEX["head"], 0] = 0.0  # the mouth is open there
    assert photo_frames.shots(Motion(rotations, expression), half_body=False)["shut"].moment == 16


def test_the_canvas_shows_the_photograph_where_its_camera_does():
    image = torch.zeros(3, 300, 200)
    image[:, 99:102, 49:52] = 1  # a mark around x 50.5, y 100.5
    canvas, shown = photo_frames.framed(image, 128)
    assert canvas.shape == (3, 128, 128) and int(shown[0, 0].sum()) == 85
    weight = canvas[0]
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    centre = torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    expected = photo_frames.framed_points(torch.tensor([[50.5, 100.5]]), (300, 200), 128)[0]
    torch.testing.assert_close(centre, expected, atol=0.15, rtol=0)
    wide, shown = photo_frames.framed(torch.zeros(3, 100, 200), 128)
    assert wide.shape == (3, 128, 128) and bool((shown == 1).all())
