import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import clips
import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, __main__
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.video import film as films
from gaussiansr_jax.video import frames as frame_upscaling
from gaussiansr_jax.video.color import Layout

LOSSLESS = {"qp": "0", "preset": "ultrafast"}
SCALE = 2.5


@pytest.fixture(scope="module")
def engine():
    return Engine(tiny_model.params(), tiny_model.CONFIG)


@pytest.fixture
def upscale(engine):
    def run(source, path, scale=SCALE, **settings):
        if "size" in settings:
            scale = None
        notes = []
        films.upscale_film(engine, source, path, scale, note=notes.append, **settings)
        return notes

    return run


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """25 frames with sound."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return clips.write(path, clips.frames(25, 24, 32), sound=True)


def times(frames):
    return [round(float(frame.pts * frame.time_base), 4) for frame in frames]


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p"])
def test_each_frame_is_what_upscale_gives(upscale, tmp_path, pixel_format):
    source = clips.write(tmp_path / "in.mkv", clips.frames(3, 24, 32), pixel_format=pixel_format)
    upscale(source, tmp_path / "out.mkv", encoder_options=LOSSLESS)
    subsampling = (1, 1) if pixel_format == "yuv444p" else (2, 2)
    layout = Layout(8, *subsampling, False, clips.BT601)
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    before, after = clips.read(source), clips.read(tmp_path / "out.mkv")
    assert len(after) == len(before) == 3
    for small, large in zip(before, after, strict=True):
        assert (large.height, large.width) == (60, 80)
        rgb = np.asarray(clips.to_rgb(clips.planes(small, layout), layout))
        expected = clips.from_rgb(upscaler.upscale(rgb, SCALE), layout)
        for ours, theirs in zip(clips.planes(large, layout), expected, strict=True):
            assert np.abs(ours.astype(int) - np.asarray(theirs, int)).max() <= 1


def test_sound_is_copied_and_stays_in_time(upscale, film, tmp_path):
    upscale(film, tmp_path / "out.mp4")
    assert clips.packets(tmp_path / "out.mp4", "audio") == clips.packets(film, "audio")
    assert times(clips.read(tmp_path / "out.mp4")) == times(clips.read(film))


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_variable_frame_rate(upscale, tmp_path, ending):
    wanted = [100, 133, 150, 300, 301, 700]
    rgb = clips.frames(6, 24, 32)
    source = clips.write(tmp_path / "in.mkv", rgb, times=wanted)
    assert times(clips.read(source)) == [t / 1000 for t in wanted]
    out = tmp_path / f"out{ending}"
    upscale(source, out)
    assert times(clips.read(out)) == [t / 1000 for t in wanted]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [clips.BT709, clips.BT601])
def test_colors_are_kept(upscale, tmp_path, matrix, full_range):
    color = (200, 60, 30)
    rgb = np.full((2, 24, 32, 3), color, np.uint8)
    source = clips.write(tmp_path / "in.mp4", rgb, matrix=matrix, full_range=full_range)
    upscale(source, tmp_path / "out.mp4", encoder_options=LOSSLESS)
    small, large = clips.read(source)[0], clips.read(tmp_path / "out.mp4")[0]
    assert large.colorspace == matrix
    assert large.color_range == (2 if full_range else 1)
    assert small.colorspace == matrix


def test_unnamed_matrix_is_named(upscale, tmp_path):
    """Players take a small film without a name for BT.601, a large one for BT.709."""
    source = clips.write(tmp_path / "in.mp4", clips.frames(1, 24, 32))
    assert clips.read(source)[0].colorspace == 2
    upscale(source, tmp_path / "out.mp4")
    assert clips.read(tmp_path / "out.mp4")[0].colorspace == clips.BT601


@pytest.mark.parametrize("degrees", [90, 180])
def test_rotation_is_kept(upscale, tmp_path, degrees):
    source = clips.write(
        tmp_path / "in.mp4",
        clips.frames(2, 24, 32),
        set_display_rotation=lambda stream: stream.set_display_rotation(degrees),
    )
    before = clips.read(source)[0]
    assert before.rotation in (degrees, -degrees)
    shown = (64, 48) if degrees == 180 else (48, 64)  # width, height
    upscale(source, tmp_path / "out.mp4", size=shown[::-1])
    after = clips.read(tmp_path / "out.mp4")[0]
    assert after.rotation == before.rotation
    assert (after.width, after.height) == (64, 48)


def test_pixels_that_are_not_square(upscale, tmp_path):
    source = clips.write(
        tmp_path / "in.mp4", clips.frames(1, 24, 32), sample_aspect_ratio=Fraction(4, 3)
    )
    upscale(source, tmp_path / "same.mp4", 2)
    upscale(source, tmp_path / "square.mp4", size=(48, 86))
    for name, expected in (("same", Fraction(4, 3)), ("square", Fraction(128, 129))):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


def test_ten_bits_are_kept(upscale, tmp_path):
    ramp = np.tile(np.linspace(0.3, 0.4, 32), (24, 1))[None, :, :, None]
    rgb = np.rint(np.repeat(ramp, 3, -1) * 255).astype(np.uint8)
    rgb = np.repeat(rgb, 5, 0)
    source = clips.write(tmp_path / "in.mkv", rgb, pixel_format="yuv420p10le", encoder="libx265")
    upscale(source, tmp_path / "out.mp4", 2)
    large = clips.read(tmp_path / "out.mp4")[0]
    assert large.format.name == "yuv420p10le"
    luma = clips.planes(large, Layout(10, 2, 2, False, clips.BT601))[0]
    assert len(np.unique(luma % 4)) == 4  # the two lowest bits carry something


@pytest.mark.parametrize("count", [1, 2])
def test_ten_bits_in_one_or_two_frames(upscale, tmp_path, count):
    """x265 leaves their decoding times uninitialized; mostly no file takes such packets."""
    rgb = clips.frames(count, 24, 32)
    source = clips.write(tmp_path / "in.mkv", rgb, pixel_format="yuv420p10le", encoder="ffv1")
    for _ in range(4):
        upscale(source, tmp_path / "out.mp4", 2, overwrite=True)
        large = clips.read(tmp_path / "out.mp4")
        assert [frame.format.name for frame in large] == ["yuv420p10le"] * count
        assert times(large) == [0.04 * index for index in range(count)]


def test_odd_sides(upscale, tmp_path):
    source = clips.write(tmp_path / "in.mkv", clips.frames(1, 23, 31), pixel_format="yuv444p")
    upscale(source, tmp_path / "whole.mkv", 3)
    frame = clips.read(tmp_path / "whole.mkv")[0]
    assert (frame.height, frame.width, frame.format.name) == (69, 93, "yuv444p")
    odd = clips.write(tmp_path / "odd.webm", clips.frames(1, 23, 31), encoder="libvpx-vp9")
    (note,) = upscale(odd, tmp_path / "even.mp4", 3)
    assert "93x69" in note and "92x68" in note
    frame = clips.read(tmp_path / "even.mp4")[0]
    assert (frame.height, frame.width, frame.format.name) == (68, 92, "yuv420p")


def test_rgb_films(upscale, tmp_path):
    rgb = clips.frames(2, 24, 32)
    source = clips.write(tmp_path / "in.mkv", rgb, pixel_format="bgr0", encoder="ffv1")
    upscale(source, tmp_path / "out.mp4")
    assert clips.read(tmp_path / "out.mp4")[0].colorspace == clips.BT709


def test_tiles_blocks_and_strips_change_nothing(engine, monkeypatch):
    layout = Layout(8, 1, 1, False, clips.BT709)
    rgb = clips.frames(1, 48, 64)[0].astype(np.float32) / 255
    planes = tuple(map(np.asarray, clips.from_rgb(rgb, layout)))
    whole = frame_upscaling.FrameUpscaler(engine, (48, 64), (115, 153), layout, layout)(planes)
    cut = Engine(tiny_model.params(), tiny_model.CONFIG, tile=40, block=64)
    for parts in (cut.parts, ()):  # as on a CPU, in blocks; as on an accelerator, in strips
        monkeypatch.setattr(cut, "parts", parts)
        monkeypatch.setattr(frame_upscaling, "_PIXELS", 153 * 10)
        tiled = frame_upscaling.FrameUpscaler(cut, (48, 64), (115, 153), layout, layout)(planes)
        for a, b in zip(whole, tiled, strict=True):
            assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1


def test_several_frames_compile_once(engine):
    layout = Layout(8, 2, 2, False, clips.BT709)
    upscaler = frame_upscaling.FrameUpscaler(engine, (24, 32), (60, 80), layout, layout)
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(3):
        upscaler(tuple(rng.integers(0, 256, s, np.uint8) for s in layout.shapes(24, 32)))
        sizes.append(engine.programs.render._cache_size() + engine.programs.encode._cache_size())
    assert sizes[0] == sizes[1] == sizes[2]


def test_progress_ends_with_the_last_frame(upscale, film, tmp_path):
    seen = []
    upscale(film, tmp_path / "out.mp4", progress=lambda *state: seen.append(state))
    assert seen == [(i + 1, 25) for i in range(25)]


class TestBadInput:
    def test_no_video(self, upscale, tmp_path):
        path = tmp_path / "sound.mp4"
        with av.open(str(path), "w") as container:
            audio = container.add_stream("aac", rate=48000, layout="mono")
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate = 48000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        with pytest.raises(UserError, match="holds no video"):
            upscale(path, tmp_path / "out.mp4")

    def test_truncated(self, upscale, tmp_path):
        whole = clips.write(tmp_path / "whole.mkv", clips.frames(75, 24, 32), rate=25)
        cut = tmp_path / "cut.mkv"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(UserError, match=r"truncated.*out.mp4 holds what could be read"):
            upscale(cut, tmp_path / "out.mp4")
        assert 10 < len(clips.read(tmp_path / "out.mp4")) < 65

    def test_cut_before_its_index(self, upscale, film, tmp_path):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(film.read_bytes()[:2000])
        with pytest.raises(UserError, match=r"cannot read .*cut.mp4 as a film"):
            upscale(cut, tmp_path / "out.mp4")
        assert not (tmp_path / "out.mp4").exists()

    def test_not_a_film(self, upscale, tmp_path):
        path = tmp_path / "text.mp4"
        path.write_text("no film")
        with pytest.raises(UserError, match=r"cannot read .*text.mp4 as a film"):
            upscale(path, tmp_path / "out.mp4")

    @pytest.mark.parametrize(
        ("output", "settings", "sentence"),
        [
            ("out.avi", {}, "films are written with the endings .mp4"),
            ("out.mp4", {"encoder": "nonsense"}, "no encoder 'nonsense'"),
            ("out.mp4", {"encoder": "aac"}, "aac does not encode films"),
            ("out.mp4", {"scale": 40}, "scales go from 1 to 30"),
            ("out.mp4", {"encoder_options": {"preset": "nonsense"}}, "cannot write .*out.mp4"),
            ("out.mp4", {"encoder_options": {"nonsense": "1"}}, "libx264 has no option nonsense"),
            ("out.webm", {}, "cannot write .*out.webm with libsvtav1, aac"),
        ],
    )
    def test_what_cannot_be_written(self, upscale, film, tmp_path, output, settings, sentence):
        with pytest.raises(UserError, match=sentence):
            upscale(film, tmp_path / output, **settings)
        assert not list(tmp_path.iterdir())

    def test_the_film_itself(self, upscale, film, tmp_path):
        copy = tmp_path / "film.mp4"
        shutil.copy(film, copy)
        before = copy.read_bytes()
        with pytest.raises(UserError, match="choose another name"):
            upscale(copy, copy, overwrite=True)
        with pytest.raises(UserError, match="exists already"):
            upscale(film, copy)
        assert copy.read_bytes() == before

    def test_command_line(self, film, tmp_path, capsys):
        for arguments, sentence in [
            ([film, tmp_path / "a.png", "--scale", "2"], "a.png is not a film"),
            ([film, "--scale", "2", "--self-ensemble"], "--self-ensemble is for pictures"),
            ([film, "--scale", "2", "--encoder-options", "crf"], "is not valid"),
            ([film, film, "--scale", "2"], "several films"),
        ]:
            command = ["upscale", *map(str, arguments), "--output", str(tmp_path / "out.mp4")]
            with pytest.raises(UserError, match=sentence):
                __main__.main(command)


@pytest.mark.processes
def test_killed_run_starts_again(tmp_path):
    """Nothing but a hidden file is left, and the next run removes it."""
    weights = tiny_model.save(tmp_path / "tiny.safetensors")
    source = clips.write(tmp_path / "film.mp4", clips.frames(60, 48, 64, step=1))
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "gaussiansr_jax", "upscale", str(source)]
    command += ["--output", str(folder / "big.mp4"), "--scale", "8", "--weights", str(weights)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(folder.glob(".big.*.part.mp4")) and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (left_over,) = folder.iterdir()
    assert left_over.match(".big.*.part.mp4")
    subprocess.run(command, check=True, capture_output=True)
    assert [path.name for path in folder.iterdir()] == ["big.mp4"]
    assert len(clips.read(folder / "big.mp4")) == 60


def test_sound_that_goes_on(upscale, tmp_path):
    """The file ends with the sound, seconds after the last frame; nothing is missing."""
    rgb = clips.frames(3, 24, 32)
    source = clips.write(tmp_path / "in.mkv", rgb, sound=True, sound_seconds=4)
    upscale(source, tmp_path / "out.mkv")
    assert len(clips.packets(tmp_path / "out.mkv", "audio")) > 150


def test_a_run_beside_it_is_no_left_over(upscale, film, tmp_path):
    """What another process still writes is not removed."""
    program = "import sys, fcntl; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX)"
    program += "; print(flush=True); sys.stdin.read()"
    beside = tmp_path / ".out.0123abcd.part.mp4"
    command = [sys.executable, "-c", program, str(beside)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        upscale(film, tmp_path / "out.mp4")
        assert beside.exists()
        process.stdin.close()
    upscale(film, tmp_path / "out.mp4", overwrite=True)
    assert not beside.exists()
