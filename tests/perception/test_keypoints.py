import json
import logging

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.perception.keypoints import (
    NAMES,
    SPARSE_NAMES,
    Keypoints,
    default_sigma,
    from_openpose,
    load_keypoints,
    make_keypoints,
)

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
    assert set(SPARSE_NAMES) <= set(HalfBody().keypoint_names)
    assert set(NAMES) - set(SPARSE_NAMES) == {f"mesh.{i}" for i in range(478)}


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
    small = from_openpose(frame(person(0.5, (-150, 0)), person()), 512, 512, person=2)
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
    with pytest.raises(ValueError, match="numbers of pixels .*'x'"):
        make_keypoints({"left_eye": ["x", 1]})
    with pytest.raises(ValueError, match="twice"):
        Keypoints(("face.1", "face.1"), torch.zeros(2, 2), torch.ones(2))


# what OpenPose really wrote (BODY_25, pixels, no face or hands): one seen from the front, one from the side
FRONT = (414.231,124.481,0.856358,414.236,142.819,0.871896,380.337,147.999,0.834929,369.875,202.756,0.828784,393.386,
         197.565,0.824643,452.073,141.437,0.854994,466.443,196.279,0.776076,471.672,252.382,0.799852,423.414,247.178,
         0.680792,402.467,248.476,0.662479,401.212,339.87,0.804193,390.734,432.515,0.764147,445.548,245.863,0.673436,
         441.603,339.85,0.759187,433.795,418.142,0.755417,408.985,117.962,0.831285,422.086,117.977,0.885769,398.543,
         107.546,0.733607,432.494,108.784,0.709382,452.069,442.899,0.597114,454.721,435.101,0.64399,424.67,424.664,
         0.564868,373.801,462.489,0.647599,369.845,454.741,0.642548,395.959,441.623,0.522221)  # fmt: skip
SIDE = (2055.39,265.531,0.874508,2267.43,542.444,0.678595,2190.91,559.855,0.566347,2037.84,865.877,0.602067,1766.9,
        772.016,0.519303,2326.48,542.172,0.704926,2055.42,901.382,0.770255,1749.2,795.29,0.76492,2237.91,1242.88,
        0.430369,2184.86,1237,0.361237,2179.03,1619.61,0.453801,2190.82,1884.74,0.785127,2285.28,1254.71,0.407093,
        2279.28,1778.62,0.720614,2332.43,2149.8,0.483432,0,0,0,2096.87,212.408,0.915422,0,0,0,2267.34,224.203,0.847444,
        2285.04,2149.83,0.0901973,2332.09,2149.93,0.110721,2344.01,2149.84,0.279519,2037.72,1902.15,0.751191,2049.42,
        1884.72,0.720921,2220.32,1920.01,0.679288)  # fmt: skip


def detected(values, **more):
    empty = {f"{n}_keypoints_2d": [] for n in ("face", "hand_left", "hand_right")}
    return {"person_id": [-1], "pose_keypoints_2d": list(values)} | empty | more


def test_real_openpose_output_of_a_front_view():
    points = from_openpose({"version": 1.3, "people": [detected(FRONT)]}, 640, 480)
    assert len(points) == 13 and all(n.startswith("body.") for n in points.names)
    assert points.point("body.left_wrist").tolist() == pytest.approx([471.672, 252.382])
    assert points.point("body.right_eye")[0] < points.point("body.nose")[0] < points.point("body.left_eye")[0]
    assert 30 < points.face_height() < 45  # he is far away


def test_real_openpose_output_of_a_side_view_is_refused():
    with pytest.raises(ValueError, match="both eyes"):
        from_openpose({"version": 1.3, "people": [detected(SIDE)]}, 3840, 2160)


def test_dwpose_frames_with_missing_groups(caplog):
    """DWPose writes null for a face or hand it did not see, normalises, and gives a row of zeros for lost people."""
    lost = {"pose_keypoints_2d": [0.0] * 54, "face_keypoints_2d": None, "hand_left_keypoints_2d": None}
    known = [v / s for v, s in zip(FRONT, (640, 480, 1) * 25, strict=True)]
    frame_18 = {"people": [lost, detected(known, face_keypoints_2d=None)], "canvas_width": 640, "canvas_height": 480}
    with caplog.at_level(logging.WARNING):
        points = from_openpose([frame_18])
    assert "people" not in caplog.text  # nobody but one was found
    same = from_openpose({"people": [detected(FRONT)]}, 640, 480)
    assert points.names == same.names and torch.allclose(points.xy, same.xy, atol=1e-2)
    with pytest.raises(ValueError, match="no confident keypoints"):
        from_openpose({"people": [lost], "canvas_width": 640, "canvas_height": 480})


def test_mesh_points_alone_make_a_face():
    mesh = {"mesh.168": (256, 100), "mesh.152": (256, 200), "mesh.468": (225, 105), "mesh.473": (287, 105)}
    mesh |= {"mesh.4": (256, 140), "mesh.1": (256, 143)}
    mesh |= {f"mesh.{i}": (240 + i, 150) for i in range(20, 40)}
    points = make_keypoints(mesh)
    assert points.face_height() == pytest.approx(145)
    assert points.subset(["mesh.468", "mesh.473"]).face_height() == pytest.approx(2.9 * 62)
    points.check_front()
    mirrored = make_keypoints({n: (512 - x, y) for n, (x, y) in mesh.items()})
    with pytest.raises(ValueError, match="swapped"):
        mirrored.check_front()


def test_sigma_of_mesh_points_grows_towards_the_outline():
    assert default_sigma("mesh.234", 200) > default_sigma("mesh.13", 200) > 0
    assert default_sigma("mesh.13", 400) == pytest.approx(2 * default_sigma("mesh.13", 200))
    with pytest.raises(ValueError, match="mesh.478"):
        make_keypoints({"mesh.478": (1, 1)})
