"""Names agree with the body asset; mirroring is an involution."""

from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion.arkit import ARKIT, MOUTH, mirrored_expressions


def test_order_is_that_of_the_body():
    assert list(ARKIT) == HalfBody().expression_names


def test_mirror_swaps_sides_only():
    swap = mirrored_expressions()
    assert [swap[i] for i in swap] == list(range(52))
    assert ARKIT[swap[ARKIT.index("jawLeft")]] == "jawRight" and swap[ARKIT.index("jawOpen")] == ARKIT.index("jawOpen")


def test_mouth_is_jaw_lips_tongue():
    assert len(MOUTH) == 28 and ARKIT.index("jawOpen") in MOUTH and ARKIT.index("noseSneerLeft") not in MOUTH
