"""Avatar clips that several tests read: two people, 64 px, one of the clips with speech."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.synthetic.people.template import Template
from stereotalker_core.training.clips.synthetic_clips import AvatarClips, export_avatars
from tests.training.speech.test_audio_encoder import write_split


@pytest.fixture(scope="session")
def template() -> Template:
    return Template(HalfBody(), 128)


@pytest.fixture(scope="session")
def avatar_root(tmp_path_factory, template):
    root = tmp_path_factory.mktemp("avatar_clips")
    export_avatars(root, AvatarClips(identities=2, clips=1, frames=9, size=64), template=template)
    return root


@pytest.fixture(scope="session")
def spoken_root(tmp_path_factory, template):
    """Clips of a toy language of tones (0.4 s and more)."""
    root = tmp_path_factory.mktemp("spoken_clips")
    write_split(root / "speech", 2, 0)
    torch.manual_seed(0)
    export_avatars(root, AvatarClips(identities=1, clips=2, size=32), root / "speech", template=template)
    return root
