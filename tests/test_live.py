"""A live person: frames keep the pace of the sound, hear no further than the look-ahead, turn, stop, stay small."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait

import pytest
import torch

from stereotalker_core.camera.trajectories import orbit
from stereotalker_core.live import AHEAD, CONTEXT, GRACE, HOP, LOOK_AHEAD, SAMPLES, TOGETHER, Beat, Crew, Live, stream
from stereotalker_core.motion.edit import concat
from stereotalker_core.motion.generation.live import LiveMotion
from stereotalker_core.motion.generation.sampling import MotionOptions
from stereotalker_core.pipeline import View

BLOCK = 320  # 20 ms


@pytest.fixture(scope="module")
def identity(tiny_models):
    from stereotalker_core.synthetic.people.avatar import make_avatar
    from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity

    avatar = make_avatar(tiny_models.body, 3)
    return true_identity(tiny_models.body, avatar, reference_portrait(tiny_models.body, avatar, 3, 128))


@pytest.fixture
def live(tiny_models, identity) -> Live:
    return Live(tiny_models, identity, View(size=128), MotionOptions(steps=2))


def speech(seconds: float) -> torch.Tensor:
    t = torch.arange(int(seconds * 16000)) / 16000
    return 0.3 * torch.sin(2 * torch.pi * 130 * t) * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * t))


def test_frames_keep_the_pace_and_carry_their_sound(live):
    sound, given, times = speech(1.0), [], []

    def blocks():
        for i in range(0, len(sound), BLOCK):
            yield sound[i : i + BLOCK]
            times.append(len(given))

    for frame in stream(live, blocks()):
        given.append(frame)
    assert [f.number for f in given] == list(range(len(given))) and given[0].picture.shape == (3, 128, 128)
    for block, count in enumerate(times):  # bounded: never more than a hop behind the sound
        assert 0 <= (block + 1) * BLOCK / SAMPLES - count <= HOP + 1
    heard = torch.cat([f.sound for f in given])
    delay = LOOK_AHEAD * SAMPLES
    assert torch.allclose(heard[delay : delay + len(sound)], sound) and not heard[:delay].any()
    first = next(i for i, f in enumerate(given) if f.speaking)
    assert first == LOOK_AHEAD and not given[-1].speaking or given[-1].sound.any()


def test_idle_moves_and_camera_acts_within_a_hop(live):
    still = [f for _ in range(3) for f in live.frames()]
    assert not any(f.speaking for f in still)
    assert any(not torch.equal(a.picture, b.picture) for a, b in zip(still, still[1:], strict=False))
    assert live.frames(idle=False) == []
    live.look(40)
    before, after = still[-1].picture, live.frames()[-1].picture
    assert live._shown_yaw == 40 and float((before - after).abs().mean()) > 1e-3
    for bad in (181, float("nan")):
        with pytest.raises(ValueError, match="yaw"):
            live.look(bad)


def test_the_distance_of_the_view_counts(live):
    """The person is as far away as in a clip with the same view."""
    far = Live(live.models, live.identity, View(size=128, distance=2.0), MotionOptions(steps=2))
    clip = far.view.cameras(far.models.body, far.identity, 1)
    camera = far._planned(True, HOP).cameras
    assert torch.allclose(camera.world_to_camera[:1], clip.world_to_camera, atol=1e-4)
    assert torch.allclose(camera.intrinsics, clip.intrinsics, atol=1e-3)


def test_an_interruption_is_heard_at_once(live):
    live.push(speech(2.0))
    live.frames()
    assert live.frames()[0].speaking
    live.interrupt()
    assert live.waiting == 0
    following = live.frames()
    assert not any(f.sound.any() for f in following) and not following[0].speaking


def test_what_is_drawn_during_an_interruption_is_not_heard(live, monkeypatch):
    """The interruption comes from another thread, in the middle of a hop."""
    live.push(speech(2.0))
    live.frames()
    drawn = live._drawn

    def interrupted(*given):
        live.interrupt()
        return drawn(*given)

    monkeypatch.setattr(live, "_drawn", interrupted)
    assert not any(f.sound.any() or f.speaking for f in live.frames())
    monkeypatch.undo()
    assert not any(f.sound.any() or f.speaking for f in live.frames())


def test_speech_that_begins_within_an_idle_hop_has_no_hole(live):
    sound = speech(0.5)
    live.frames()
    live.push(sound[:1000])
    found = live.frames()  # idle: a hop that is not full yet
    live.push(sound[1000:])
    found += [f for _ in range(4) for f in live.frames()]
    heard = torch.cat([f.sound for f in found])
    first = int(heard.nonzero()[0])
    assert torch.allclose(heard[first : first + len(sound) - 1], sound[1:])


def test_fewer_pictures_where_sound_waits(live):
    """The sound stays whole, the pictures repeat; without a queue all are drawn."""
    assert live.pace() == HOP
    live.push(speech(2.0))
    assert live.pace() == 1
    found = live.frames(pictures=live.pace())
    assert len(found) == HOP and all(f.picture is found[0].picture for f in found)
    found = live.frames(pictures=3)
    owner = [i * 3 // HOP for i in range(HOP)]
    same = [a == b for a, b in zip(owner, owner[1:], strict=False)]
    assert [f.picture is g.picture for f, g in zip(found, found[1:], strict=False)] == same and sum(same) == HOP - 3
    assert found[0].sound.any() and len(torch.cat([f.sound for f in found])) == HOP * SAMPLES


def test_memory_is_bounded(live):
    sizes = []
    for i in range(7):
        live.push(speech(HOP / 25))
        live.frames()
        kept = live._motion
        kept = (live._heard, live._waiting, live._real, kept._past, kept._ahead, kept._noise, kept._said)
        sizes.append([len(part) for part in kept])
        if i > 4:
            assert sizes[-1] == sizes[-2]
    with pytest.raises(ValueError, match="wait to be spoken"):
        live.push(torch.zeros(61 * 16000))


@pytest.mark.parametrize("bad", [torch.zeros(2, 3), torch.zeros(3, dtype=torch.int16), torch.tensor([float("nan")])])
def test_bad_sound_is_refused_and_harms_nothing(live, bad):
    with pytest.raises(ValueError, match="finite floats"):
        live.push(bad)
    assert live.waiting == 0


def test_a_live_camera_does_not_orbit(tiny_models, identity):
    with pytest.raises(ValueError, match="no keyframes"):
        Live(tiny_models, identity, View(size=128, keys=((0, 10.0, 0.0, 1.0),)))
    with pytest.raises(ValueError, match="does not orbit"):
        Live(tiny_models, identity, View(0, 20, size=128))


def test_the_stream_is_its_offline_twin(live, tiny_models, identity):
    """Blocks of any size, drawn a few at a time = the whole sound at hand, every hop hearing LOOK_AHEAD frames more."""
    from stereotalker_core.video.rendering.composite import composite
    from stereotalker_core.video.rendering.play import played

    sound, cuts = speech(0.96), [123, 1000, 1001, 3000, 5300, 6000, 8100, 9500, 11000, 13100]
    found = list(stream(live, sound.tensor_split(cuts)))
    hops = len(found) // HOP
    whole = torch.cat([torch.zeros(CONTEXT * SAMPLES), sound, torch.zeros(hops * HOP * SAMPLES)])
    alone = LiveMotion(tiny_models.motion, MotionOptions(steps=2), HOP, LOOK_AHEAD)
    ends = [(CONTEXT + HOP * (i + 1)) * SAMPLES for i in range(hops)]
    motion = concat([alone.next(whole[end - CONTEXT * SAMPLES : end]) for end in ends])
    cameras = orbit(live._framing, len(found), 0, 0, 0, live._size)
    parts = played(tiny_models.body, tiny_models.renderer, identity, motion, cameras, (0, len(motion)), True)
    values = torch.cat([values for values, _ in parts])
    pictures = composite(values[:, :3], values[:, 3:], live._plate[None], True)
    away = (torch.stack([f.picture for f in found]) - pictures).abs()
    # frames are drawn in other batches, which moves single pixels at edges; another frame would be 1.9 off
    assert hops >= 5 and float(away.max()) < 0.03 and float(away.mean()) < 1e-4


def begun(live: Live, silent: int, sound: torch.Tensor, open_line: bool) -> list[tuple[float, list]]:
    """(milliseconds since speech began, frames) of three hops drawn then, by a clock on which drawing takes no time.

    Blocks of 20 ms are there when they have been said. Before the first, for `silent` milliseconds, nothing comes, or
    silence does (a microphone that is on).
    """
    beat, found = Beat(0.0), []
    for now in range(1, 10_000):
        since = now - silent
        if since % 20 == 0 and (since > 0 or open_line):
            live.push(sound[(since - 20) * 16 : since * 16] if since > 0 else torch.zeros(BLOCK))
        if beat.due(live, now / 1000):
            beat.begun(now / 1000)
            frames = live.frames()
            found += [(since, frames)] if since > 0 else []
        if len(found) == 3:
            break
    return found


@pytest.mark.parametrize("silent", [320, 400, 460])
@pytest.mark.parametrize("open_line", [False, True])
def test_how_late_the_first_frame_of_speech_is(tiny_models, identity, silent, open_line):
    """By the clock: HOP frames after speech began out of nothing, LOOK_AHEAD more at most on a line that is open."""
    live, twin = (Live(tiny_models, identity, View(size=128), MotionOptions(steps=2)) for _ in range(2))
    heard, other = (begun(one, silent, x, open_line) for one, x in ((live, speech(1)), (twin, torch.zeros(16000))))
    first = next(at for at, frames in heard if any(f.sound.any() for f in frames))
    assert LOOK_AHEAD * 40 < first <= (HOP + LOOK_AHEAD * open_line) * 40
    pairs = [(at, zip(a, b, strict=True)) for (at, a), (_, b) in zip(heard, other, strict=True)]
    moved = next(at for at, both in pairs if any(not torch.equal(a.picture, b.picture) for a, b in both))
    assert moved <= first  # lips move ahead of the sound, or with it


def test_late_sound_makes_no_hole(live):
    """A block that the network delivers GRACE seconds late: nothing is put in between, neither sooner nor later."""
    sound, beat, given = speech(0.96), Beat(0.0), []
    for now in range(0, 1800, 5):
        due = now - 100 * (now >= 400)  # ms; the line stalls once
        if 0 < due <= 960 and due % 20 == 0 and not 400 <= now < 500:
            live.push(sound[(due - 20) * 16 : due * 16])
        if beat.due(live, now / 1000):
            beat.begun(now / 1000)
            given += live.frames()
    heard = torch.cat([f.sound for f in given])
    first = int(heard.nonzero()[0])
    assert GRACE > 0.1 and torch.allclose(heard[first : first + len(sound) - 1], sound[1:])


def test_frames_are_given_as_soon_as_they_are_drawn(live):
    live.push(speech(0.5))
    parts = live.hop()
    first = next(parts)
    assert [f.number for f in first] == list(range(TOGETHER))
    live.interrupt()
    assert [f.number for few in parts for f in few if not f.speaking] == list(range(TOGETHER, HOP))


@pytest.fixture
def crew():
    with Crew() as crew:
        yield crew


def twins(tiny_models, identity) -> tuple[Live, Live]:
    return tuple(Live(tiny_models, identity, View(size=128), MotionOptions(steps=2)) for _ in range(2))


def same(found, wanted) -> bool:
    pictures = [torch.stack([f.picture for f in frames]) for frames in (found, wanted)]
    told = [[(f.number, f.speaking, round(f.begin, 6), f.sound.tolist()) for f in frames] for frames in (found, wanted)]
    return told[0] == told[1] and float((pictures[0] - pictures[1]).abs().max()) < 1e-3


def test_a_crew_draws_what_one_thread_draws(tiny_models, identity, crew):
    """Hops overlap, the camera turns and fewer pictures are drawn in between: frame for frame the same."""
    plain, crewed = twins(tiny_models, identity)
    wanted, parts = [], []
    for i in range(6):
        for live in (plain, crewed):
            live.push(speech(0.16 if i < 4 else 0.05))
            live.look(7.0 * i)
        wanted += plain.frames(pictures=(4, 4, 3, 1, 4, 2)[i])
        parts += crewed.begin(crew, pictures=(4, 4, 3, 1, 4, 2)[i])
    assert crewed.begin(crew, idle=False) == [] == plain.frames(idle=False)
    assert same([f for part in parts for f in part.frames()], wanted) and len(wanted) == 6 * HOP
    assert {f.begin for f in wanted} == {f.begin for part in parts for f in part.frames()}


def test_a_stream_by_a_crew_is_the_stream(tiny_models, identity, crew):
    plain, crewed = twins(tiny_models, identity)
    blocks = [*speech(0.7).split(BLOCK), None, None, None, *speech(0.2).split(BLOCK)]
    assert same(list(stream(crewed, blocks, crew)), list(stream(plain, blocks)))


def test_no_more_hops_are_begun_than_may_wait(live, crew, monkeypatch):
    """`begin` waits, and one part after another is there as soon as it is drawn."""
    live.push(speech(2.0))
    go, drawn = threading.Event(), live._drawn
    monkeypatch.setattr(live, "_drawn", lambda *given: go.wait(20) and drawn(*given))
    parts = [live.begin(crew) for _ in range(AHEAD)]
    assert not live.ready and not any(part.pictures.done() for hop in parts for part in hop)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(live.begin, crew)
        assert not wait([waiting], 0.3).done
        go.set()
        assert len(waiting.result(20)) == -(-HOP // TOGETHER) and parts[0][0].pictures.done()
        assert [f.number for f in waiting.result()[0].frames()] == list(range(AHEAD * HOP, AHEAD * HOP + TOGETHER))
    assert live.ready


def test_idle_hops_do_not_queue_before_speech(live, crew, monkeypatch):
    """While nobody speaks a hop is begun when the one before is half drawn; speech waits for neither."""
    go, drawn = threading.Semaphore(0), live._drawn
    monkeypatch.setattr(live, "_drawn", lambda *given: go.acquire(timeout=20) and drawn(*given))
    first = live.begin(crew)
    assert not live.ready
    go.release()
    wait([first[0].pictures], 20)
    assert live.ready and not first[-1].pictures.done()
    second = live.begin(crew)
    assert not live.ready
    live.push(speech(0.5))
    assert live.ready
    third = live.begin(crew)
    go.release(9)
    frames = [f for part in (*first, *second, *third) for f in part.frames()]
    assert [f.number for f in frames] == list(range(3 * HOP)) and frames[-1].speaking


def test_an_interruption_silences_what_a_crew_has_begun(live, crew):
    live.push(speech(2.0))
    live.frames()
    parts = [*live.begin(crew), *live.begin(crew)]
    assert all(f.speaking for f in parts[0].frames())
    live.interrupt()
    assert not any(f.speaking or f.sound.any() for part in parts for f in part.frames())
    assert not any(f.speaking for part in live.begin(crew) for f in part.frames())


@pytest.mark.parametrize("step", ["_motion", "_guided", "_drawn"])
def test_a_fault_in_a_thread_of_the_crew_reaches_the_caller(live, crew, monkeypatch, step):
    """...of each step, for every part of the hop; the next hop is drawn, and other people too."""

    def broken(*given):
        raise ArithmeticError(step)

    with monkeypatch.context() as patch:
        patch.setattr(live._motion, "next", broken) if step == "_motion" else patch.setattr(live, step, broken)
        for part in live.begin(crew):
            with pytest.raises(ArithmeticError, match=step):
                part.frames()
    assert [f.number for part in live.begin(crew) for f in part.frames()] == list(range(HOP, 2 * HOP))


def test_closing_joins_the_threads_and_tells_who_waits(tiny_models, identity):
    """Twenty sessions, each closed while hops are being drawn."""
    before = set(threading.enumerate())
    live = Live(tiny_models, identity, View(size=128), MotionOptions(steps=1))
    for i in range(20):
        with Crew() as crew:
            begun = [*live.begin(crew), *live.begin(crew)]
        assert set(threading.enumerate()) == before and all(part.pictures.done() for part in begun), i
    with pytest.raises(CancelledError):
        begun[-1].frames()
    with pytest.raises(RuntimeError):
        live.begin(crew)


def test_the_server_draws_half_of_the_pictures_while_nobody_speaks(live):
    from stereotalker_core.commands.serve import pictures_of

    assert pictures_of(live) == (HOP + 1) // 2
    live.push(speech(HOP / 25))
    assert pictures_of(live) == HOP
    live.push(speech(2.0))
    assert pictures_of(live) == live.pace() == 1
