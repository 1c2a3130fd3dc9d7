"""Who speaks when."""

import torch

from stereotalker_core.audio.activity import idleness, speechless, voice_activity
from stereotalker_core.audio.phones import PHONE_INDEX


def heard(*spans: tuple[int, int], frames: int = 300) -> torch.Tensor:
    """Log-probabilities (frames, 40): a vowel in the spans, silence elsewhere."""
    phones = torch.full((frames, len(PHONE_INDEX)), 1e-3)
    spoken = torch.zeros(frames, dtype=torch.bool)
    for start, stop in spans:
        spoken[start:stop] = True
    phones[spoken, PHONE_INDEX["aa"]], phones[~spoken, PHONE_INDEX["sil"]] = 1.0, 1.0
    return (phones / phones.sum(1, keepdim=True)).log()


def test_speech_is_active_a_little_before_and_after():
    active = voice_activity(heard((100, 150)))
    assert float(active[100:150].min()) == 1 and float(active[98]) > 0.5 and float(active[151]) > 0.3
    assert float(active[:90].max()) == 0 and float(active[160:].max()) == 0
    assert speechless(active)[:90].all() and not speechless(active)[100:150].any()


def test_a_phone_or_two_by_itself_is_nobody_speaking():
    assert float(voice_activity(heard((100, 102))).max()) == 0
    assert float(voice_activity(heard((100, 108))).max()) == 1


def test_only_long_pauses_are_idle_and_hands_are_up_in_time():
    active = voice_activity(heard((0, 60), (80, 120), (220, 300)))
    idle = idleness(active)
    assert float(idle[:120].max()) == 0  # a pause of 0.8 s
    assert float(idle[160:180].min()) == 1
    assert float(idle[218:].max()) < 0.05 and float(idle.diff().abs().max()) < 0.15


def test_empty_recordings_have_empty_answers():
    nothing = voice_activity(torch.zeros(0, len(PHONE_INDEX)))
    assert len(nothing) == 0 and len(idleness(nothing)) == 0
    assert len(idleness(voice_activity(heard(frames=1)))) == 1
