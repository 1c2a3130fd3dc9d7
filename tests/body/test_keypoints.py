import json
import logging

import pytest
import torch

from stereotalker_core.body.keypoints import NAMES, Keypoints, from_openpose, load_keypoints, make_keypoints
from stereotalker_core.body.model import HalfBody

COCO = [  # a frontal person in a 512 x 512 picture: x, y by OpenPose index
    (256, 120), (256, 240), (180, 240), (150, 340), (160, 430), (332, 240), (362, 340), (352, 430), (215, 460),
    (0, 0), (0, 0), (297, 460), (0, 0), (0, 0), (240, 105), (272, 105), (220, 115), (292, 115),
]  # fmt: skip


def face_points(scale=1.0, shift=(0.0, 0.0)):
    """A crude 70-point face around (256, 130): only order and proportions matter."""
    points = [(256 + (i - 8) * 5.5, 110 + 60 * (1 - abs(i - 8) / 8)) for i in range(17)]
    points += [(225 + i * 6, 92) for i in range(5)] + [(263 + i * 6, 92) for i in range(5)]
    points += [(256, 105 + i * 6) for i in range(4)] + [(248 + i * 4, 128) for i in range(5)]
    points += [(234 + i * 3, 105) for i in range(6)] + [(264 + i * 3, 105) for i in range(6)]
    points += [(240 + i * 5, 145) for i in range(7)] + [(270 - i * 5, 152) for i in range(5)]
    points += [(244 + i * 6, 147) for i in range(5)] + [(265 - i * 6, 149) for i in range(3)]
    points += [(241, 105), (271, 105)]
    return [(256 + (x - 256) * scale + shift[0], 120 + (y - 120) * scale + shift[1]) for x, y in points]


def flat(points, confidence=1.0):
    return [v for x, y in points for v in (float(x), float(y), confidence if (x, y) != (0, 0) else 0.0)]


def person(scale=1.0, shift=(0.0, 0.0)):
    body = [
        (0, 0) if p == (0, 0) else (256 + (p[0] - 256) * scale + shift[0], 120 + (p[1] - 120) * scale + shift[1])
        for p in COCO
    ]
    return {"pose_keypoints_2d": flat(body), "face_keypoints_2d": flat(face_points(scale, shift))}


def frame(*people, canvas=(512, 512)):
    return {"people": list(people), "canvas_width": canvas[0], "canvas_height": canvas[1]}


def test_names_are_those_of_the_body():
    assert set(NAMES) <= set(HalfBody().keypoint_names)


def test_openpose_names_and_sides():
    points = from_openpose([frame(person())], 512, 512)
    assert points.point("body.right_shoulder").tolist() == [180.0, 240.0]
    assert points.point("body.left_ear").tolist() == [292.0, 115.0]
    assert points.point("face.8").tolist() == pytest.approx([256.0, 170.0])
    assert points.point("iris.L").tolist() == [271.0, 105.0]
    assert "body.left_hip" in points and len([n for n in points.names if n.startswith("face.")]) == 68
    assert float(points.sigma[points.names.index("face.0")]) > float(points.sigma[points.names.index("face.36")])


def test_normalised_equals_pixels():
    pixels = from_openpose(frame(person()), 512, 512)
    one = person()
    scaled = {k: [v / 512 if i % 3 < 2 else v for i, v in enumerate(values)] for k, values in one.items()}
    normalised = from_openpose(frame(scaled), 512, 512)
    assert torch.allclose(pixels.xy, normalised.xy, atol=1e-3)


def test_canvas_of_another_size_is_scaled():
    pixels = from_openpose(frame(person()), 512, 512)
    doubled = from_openpose(frame(person()), 1024, 1024)
    assert torch.allclose(doubled.xy, 2 * pixels.xy)


def test_body25_order():
    body = [(0.0, 0.0)] * 25
    for name, i in (("nose", 0), ("rs", 2), ("ls", 5), ("rh", 9), ("lh", 12), ("re", 15), ("le", 16)):
        body[i] = {"nose": (256, 120), "rs": (180, 240), "ls": (332, 240), "rh": (215, 460), "lh": (297, 460),
                   "re": (240, 105), "le": (272, 105)}[name]  # fmt: skip
    points = from_openpose(frame({"pose_keypoints_2d": flat(body)}), 512, 512)
    assert points.point("body.left_hip").tolist() == [297.0, 460.0]
    assert points.point("body.left_eye").tolist() == [272.0, 105.0]


def test_largest_person_with_warning(caplog):
    with caplog.at_level(logging.WARNING):
        points = from_openpose(frame(person(0.5, (-150, 0)), person()), 512, 512)
    assert points.point("body.nose").tolist() == [256.0, 120.0]
    assert "2 people" in caplog.text
    small = from_openpose(frame(person(0.5, (-150, 0)), person()), 512, 512, person=0)
    assert small.point("body.nose")[0] < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"people": [], "canvas_width": 8, "canvas_height": 8}, "no person found"),
        ({}, '"people" is missing'),
        ([], '"people" is missing'),
        (frame({"pose_keypoints_2d": flat(COCO[:1] * 2)[:5]}), "no triples"),
        (frame({"pose_keypoints_2d": flat([(0, 0), *COCO[1:14], (0, 0), (0, 0), (0, 0), (0, 0)])}), "no face points"),
        (frame(person(0.1)), "px high"),
        (frame({"pose_keypoints_2d": flat(COCO, 0.1)}), "no confident"),
    ],
)
def test_bad_input_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        from_openpose(data, 512, 512)


def test_back_view_is_refused():
    turned = {"pose_keypoints_2d": flat([(512 - x, y) if (x, y) != (0, 0) else (0, 0) for x, y in COCO])}
    with pytest.raises(ValueError, match="back view"):
        from_openpose(frame(turned), 512, 512)


def test_normalised_without_size_is_refused():
    tiny = {k: [v / 512 if i % 3 < 2 else v for i, v in enumerate(values)] for k, values in person().items()}
    with pytest.raises(ValueError, match="normalised"):
        from_openpose({"people": [tiny]})


def test_plain_file_with_aliases(tmp_path):
    path = tmp_path / "points.json"
    path.write_text(
        json.dumps({"left_eye": [271, 105], "right_eye": [241, 105], "nose": [256, 123, 4], "chin": [256, 170]})
    )
    points = load_keypoints(path)
    assert set(points.names) == {"iris.L", "iris.R", "face.30", "face.8"}
    assert float(points.sigma[points.names.index("face.30")]) == 4
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        load_keypoints(path)
    path.write_text('{"left_knee": [1, 2]}')
    with pytest.raises(ValueError, match="left_knee"):
        load_keypoints(path)
    with pytest.raises(FileNotFoundError):
        load_keypoints(tmp_path / "none.json")


def test_subset_and_scaling():
    points = make_keypoints({"left_eye": (20, 10), "right_eye": (10, 10), "nose": (15, 20)})
    part = points.subset(["face.30", "iris.L", "body.left_wrist"])
    assert part.names == ("iris.L", "face.30") and part.xy.tolist() == [[20, 10], [15, 20]]
    assert part.scaled(2).xy.tolist() == [[40, 20], [30, 40]]
    with pytest.raises(ValueError, match="twice"):
        Keypoints(("face.1", "face.1"), torch.zeros(2, 2), torch.ones(2))
