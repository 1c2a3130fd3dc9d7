"""Strokes of the embedded networks land on stressed syllables, on speech that training never had."""

import pytest

from stereotalker_core.evaluation.motion.evaluate import NoSpeechError, held_out, style_of
from stereotalker_core.evaluation.motion.meaning import drawn
from stereotalker_core.evaluation.motion.motion_statistics import beat_alignment
from stereotalker_core.motion.generation.sampling import MotionModels, MotionOptions, sample_motion
from stereotalker_core.records import Motion


def test_strokes_land_on_stressed_syllables():
    """The same motion a quarter of a second early or late meets far fewer of them."""
    try:
        items = held_out(10, seed=23)
    except NoSpeechError as error:
        pytest.skip(str(error))
    models, scores = MotionModels.load_nano(), {shift: [] for shift in (-6, 0, 6)}
    for i, item in enumerate(items):
        motion = sample_motion(models, item.audio, options=drawn(MotionOptions(), i), style=style_of(item))
        for shift, rows in scores.items():
            moved = Motion(motion.rotations.roll(shift, 0), motion.expression, motion.fps)
            rows.append(beat_alignment(moved, item.utterance))
    met = {shift: sum(v * w for v, w in rows) / sum(w for _, w in rows) for shift, rows in scores.items()}
    assert met[0] > 0.45 and met[0] > 1.4 * max(met[-6], met[6]), met
