"""The detector of voices: pieces equal one pass, speech is heard, music and noise are not, and mouths follow it."""

import numpy as np
import pytest
import torch

from stereotalker_core.audio import voice as module
from stereotalker_core.audio.activity import voice_activity
from stereotalker_core.audio.encoder import silence
from stereotalker_core.audio.load import load_audio
from stereotalker_core.audio.pretrained import load_speech_encoder
from stereotalker_core.audio.voice import EARLY, STEP, VoiceDetector
from stereotalker_core.evaluation.motion.behaviour import sound_of
from stereotalker_core.synthetic.example import SPEECH
from stereotalker_core.synthetic.sound.ambience import ambience


@pytest.fixture(scope="module")
def encoder():
    return load_speech_encoder()


def test_pieces_equal_one_pass(monkeypatch):
    torch.manual_seed(0)
    detector, wave = VoiceDetector().eval(), 0.1 * torch.randn(40_000)
    whole = detector.listen(wave)
    monkeypatch.setattr(module, "_BLOCK", 7)
    torch.testing.assert_close(detector.listen(wave), whole)
    assert len(whole) == -(-40_000 // STEP) and len(detector.listen(wave[:0])) == 0
    assert not detector.speaking(wave[:0], 3).any()


def test_the_past_alone_is_heard():
    torch.manual_seed(0)
    detector, wave = VoiceDetector().eval(), 0.1 * torch.randn(20 * STEP)
    other = torch.cat([wave[: 10 * STEP], torch.zeros(10 * STEP)])
    torch.testing.assert_close(detector.listen(other)[:10], detector.listen(wave)[:10])


def test_frames_open_a_little_before_the_voice(monkeypatch):
    detector = VoiceDetector()
    heard = torch.zeros(100)
    heard[40:60] = 1
    monkeypatch.setattr(detector, "listen", lambda waveform: heard)
    speaking = detector.speaking(torch.zeros(100 * STEP), 80)
    first = int(speaking.nonzero()[0]) * 0.04
    assert 40 * 0.032 - (EARLY + 2) * 0.032 <= first < 40 * 0.032
    assert int(speaking.nonzero()[-1]) * 0.04 < 60 * 0.032 + 0.2 and not speaking[:20].any()


def test_what_nobody_speaks_is_silence(encoder, monkeypatch):
    audio = load_audio(SPEECH)
    frames, plain = audio.frame_count(), encoder.encode(audio, features=False).phones
    spoken = torch.arange(frames) % 2 == 0
    monkeypatch.setattr(encoder.voice, "speaking", lambda waveform, count: spoken[:count])
    told = encoder.encode(audio, features=False).phones
    assert torch.equal(told[1::2], silence(told).expand(frames // 2, -1))
    assert not torch.equal(told[::2], told[1::2][: len(told[::2])]) and plain.shape == told.shape
    torch.testing.assert_close(told.exp().sum(1), torch.ones(frames), atol=1e-4, rtol=0)


def test_speech_is_heard_and_music_and_rooms_are_not(encoder):
    spoken = encoder.voice.listen(load_audio(SPEECH).waveform)
    assert float((spoken > 0.5).float().mean()) > 0.6
    for kind in ("music", "noise", "room", "breath"):
        sounds = [ambience(6 * 16_000, np.random.default_rng((5, i)), kind) for i in range(3)]
        heard = torch.cat([encoder.voice.listen(torch.from_numpy(sound)) for sound in sounds])
        assert float((heard > 0.5).float().mean()) < 0.08, kind


def test_music_alone_moves_no_mouth_and_speech_beside_it_does(encoder):
    rng = np.random.default_rng(3)
    music = ambience(8 * 16_000, rng, "music")
    alone = voice_activity(encoder.encode(sound_of(music), features=False).phones)
    speech = load_audio(SPEECH).waveform.numpy()[: 8 * 16_000]
    level = float(np.sqrt(np.square(speech).mean()))
    both = voice_activity(encoder.encode(sound_of(speech + 3 * level * music[: len(speech)]), features=False).phones)
    assert float((alone > 0.05).float().mean()) < 0.1 and float((both > 0.5).float().mean()) > 0.5
