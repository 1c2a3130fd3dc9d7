"""The example that every demonstration shows: a synthetic person and a synthesised sentence."""

from pathlib import Path

SPEECH = Path(__file__).parent / "assets" / "demo_speech.flac"
TRANSCRIPT = SPEECH.with_suffix(".txt")
PERSON = 11  # seed of the avatar; no network was trained on it
