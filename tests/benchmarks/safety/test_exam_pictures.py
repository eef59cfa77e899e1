"""Corruptions, sequences, anomalies and the noise control: shapes, determinism, strength."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.safety import anomalies, corruptions, noise, perturbations
from benchmarks.safety.corruptions import CORRUPTIONS, SEVERITIES, corrupt, sample
from benchmarks.safety.perturbations import SEQUENCES, sequence

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures with edges, (12, 32, 32, 3) uint8: neither flat nor noise."""
    return anomalies.shapes(12, 32, np.random.default_rng(5))


def mean_change(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_pictures_the_same_way_each_time(name, pictures):
    before = pictures.copy()
    once = corrupt(pictures, name, 3, seed=1)
    assert once.shape == pictures.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, corrupt(pictures, name, 3, seed=1))
    assert np.array_equal(pictures, before)
    assert mean_change(once, pictures) > 0.3


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"elastic_transform", "glass_blur"}))
def test_severity_5_is_further_away_than_severity_1(name, pictures):
    # the two left out change their parameters in opposite directions at once, as published
    assert mean_change(corrupt(pictures, name, 5), pictures) > mean_change(
        corrupt(pictures, name, 1), pictures
    )


def test_noise_depends_on_the_seed_and_not_on_the_chunk(pictures, monkeypatch):
    first = corrupt(pictures, "gaussian_noise", 1, seed=1)
    assert not np.array_equal(first, corrupt(pictures, "gaussian_noise", 1, seed=2))
    monkeypatch.setattr(corruptions, "CHUNK", 5)
    assert np.array_equal(first, corrupt(pictures, "gaussian_noise", 1, seed=1))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_strengths_of_noise_are_the_published_ones(severity):
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1] * 255
    assert corrupt(grey, "gaussian_noise", severity).std() == pytest.approx(deviation, rel=0.02)
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    hit = corrupt(grey, "impulse_noise", severity) != 128
    assert hit.mean() == pytest.approx(share, rel=0.05)
    photons = (500, 250, 100, 75, 50)[severity - 1]
    expected = np.sqrt(128 / 255 / photons) * 255
    assert corrupt(grey, "shot_noise", severity).std() == pytest.approx(expected, rel=0.02)


def test_contrast_and_brightness_do_what_they_say():
    ramp = np.zeros((1, 32, 32, 3), np.uint8)
    ramp[:] = np.linspace(40, 160, 32).astype(np.uint8)[:, None]
    flat = corrupt(ramp, "contrast", 5).astype(float)
    assert flat.mean() == pytest.approx(ramp.mean(), abs=1)
    assert np.ptp(flat) == pytest.approx(0.15 * np.ptp(ramp), abs=1.5)
    bright = corrupt(ramp, "brightness", 2).astype(float)
    assert (bright - ramp).mean() == pytest.approx(0.1 * 255, abs=1)


def test_a_blur_keeps_the_mean_and_flattens_an_edge():
    edge = np.zeros((1, 32, 32, 3), np.uint8)
    edge[:, :, 16:] = 200
    for name in ("defocus_blur", "motion_blur", "zoom_blur"):
        blurred = corrupt(edge, name, 5).astype(float)
        assert blurred.mean() == pytest.approx(100, abs=15)  # motion blur is one-sided
        assert 5 < blurred[0, 16, 15:17, 0].mean() < 195


def test_unknown_names_and_severities_are_refused(pictures):
    with pytest.raises(KeyError):
        corrupt(pictures, "frost", 1)
    with pytest.raises(ValueError, match="severity must be 1 to 5"):
        corrupt(pictures, "fog", 6)


def test_sampling_where_the_pixels_are_changes_nothing(pictures):
    x = corruptions.to_float(pictures)
    at = np.stack(np.meshgrid(np.arange(32.0), np.arange(32.0)), -1)
    where = np.broadcast_to(at, (len(x), 32, 32, 2))
    for edges, centred in (("reflection", True), ("reflection", False), ("zeros", False)):
        assert np.abs(sample(x, where, edges, centred) - x).max() < 1e-4


def test_gaussian_blur_reflects_about_the_outermost_edge():
    x = np.random.default_rng(0).random((1, 6, 6, 1)).astype(np.float32)
    weights = corruptions.gaussian_kernel(1.0, 4)
    mirrored = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="symmetric")[0, :, :, 0]
    expected = np.zeros((6, 6))
    for dy, a in enumerate(weights):
        for dx, b in enumerate(weights):
            expected += a * b * mirrored[dy : dy + 6, dx : dx + 6]
    blurred = corruptions.gaussian_blur(x, 1.0, 4, "reflect")[0, :, :, 0]
    assert np.abs(blurred - expected).max() < 1e-5


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_moves_a_little_from_frame_to_frame(name, pictures):
    frames = sequence(pictures, name, seed=1)
    count = {"motion_blur": 21, "translate": 16}.get(name, 31)
    assert frames.shape == (len(pictures), count, 32, 32, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, sequence(pictures, name, seed=1))
    step = mean_change(frames[:, 1:], frames[:, :-1])
    assert step > 0
    if name not in perturbations.NOISE:
        assert step < mean_change(frames[:, 0], frames[:, -1])


@pytest.mark.parametrize(("name", "middle"), [("rotate", 15), ("tilt", 15), ("scale", 15)])
def test_the_middle_frame_of_a_geometric_sequence_is_the_picture(name, middle, pictures):
    assert mean_change(sequence(pictures, name)[:, middle], pictures) < 1


def test_translate_moves_by_whole_pixels(pictures):
    frames = sequence(pictures, "translate")
    assert mean_change(frames[:, 7], pictures) < 1
    assert mean_change(frames[:, 10][:, :, 3:], pictures[:, :, :-3]) < 1
    assert frames[:, 10][:, :, :3].max() == 0


@pytest.mark.parametrize("make", [*anomalies.NOISE.values(), *anomalies.STRUCTURED.values()])
def test_anomalies_are_the_same_for_the_same_generator_and_all_different(make):
    once = make(9, 32, np.random.default_rng(3))
    assert once.shape == (9, 32, 32, 3)
    assert once.dtype == np.uint8
    assert np.array_equal(once, make(9, 32, np.random.default_rng(3)))
    assert len({picture.tobytes() for picture in once}) == 9


def test_digits_and_photographs_are_what_they_were_made_from(tmp_path):
    rng = np.random.default_rng(0)
    strokes = np.zeros((2, 8, 8), np.uint8)
    strokes[:, 2:6, 3:5] = 255
    drawn = anomalies.digits(strokes, 3, 32, rng)
    assert drawn.shape == (3, 32, 32, 3)
    assert mean_change(drawn[0, 16, 16], drawn[0, 0, 0]) > 20
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, 30:] = (200, 100, 50)
    Image.fromarray(half).save(tmp_path / "a.png")
    crops = anomalies.photographs([tmp_path / "a.png"], 4, 32, rng)
    assert crops.shape == (4, 32, 32, 3)
    assert set(np.unique(crops[..., 0])) >= {0, 200}


def test_the_noise_control_has_full_contrast_and_no_structure():
    made = [noise.coloured_noise(np.random.default_rng(i), 36) for i in range(100)]
    deviation = np.mean([picture.std((0, 1)).mean() for picture in made])
    assert 52 < deviation < 62  # the fractals' is 56, the paper's feature visualizations' 59
    grey = np.stack(made).mean(3)
    grey = grey - grey.mean((1, 2), keepdims=True)
    power = np.abs(np.fft.fft2(grey)) ** 2
    frequency = np.hypot(np.fft.fftfreq(36)[:, None], np.fft.fftfreq(36))
    low, high = power[:, (frequency > 0.05) & (frequency < 0.1)], power[:, frequency > 0.4]
    assert low.mean() > 10 * high.mean()
    phases = np.angle(np.fft.fft2(grey))[:, 3, 4]
    assert abs(np.exp(1j * phases).mean()) < 0.3
