"""Walks through the space of codes: on surfaces whose shortest ways are known, and through a fitted model."""

import math

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import tasks


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def linear_decoder(z):
    weight = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return z @ weight + 1.5


def sphere(z):
    """(longitude, latitude) to the unit sphere, where the shortest way is along a great circle."""
    return torch.stack([z[:, 1].cos() * z[:, 0].cos(), z[:, 1].cos() * z[:, 0].sin(), z[:, 1].sin()], 1)


def hill(z):
    """A plane with a hill on the origin, around which the shortest way leads."""
    return torch.cat([z, 3 * (-z.square().sum(1, keepdim=True)).exp()], 1)


A, B = tensor([0.2, -1.0, 2.0], [1.0, 0.5, 0.1]), tensor([1.3, 0.7, -0.4], [2.0, -0.5, 0.3])


@pytest.mark.parametrize("path", ["linear", "spherical", "geodesic"])
def test_a_walk_has_its_ends_and_its_number_of_steps(path):
    walk = tasks.interpolate(A, B, 7, path, linear_decoder)
    assert walk.shape == (2, 7, 3)
    torch.testing.assert_close(walk[:, 0], A)
    torch.testing.assert_close(walk[:, -1], B)


def test_the_linear_way_has_even_steps():
    steps = tasks.interpolate(A, B, 5).diff(dim=1)
    torch.testing.assert_close(steps, ((B - A) / 4).unsqueeze(1).expand(-1, 4, -1))


def test_the_spherical_way_turns_at_an_even_speed_and_keeps_the_norm_of_ends_of_one_norm():
    a, b = 2 * A / A.norm(dim=1, keepdim=True), 2 * B / B.norm(dim=1, keepdim=True)
    walk = tasks.interpolate(a, b, 9, "spherical")
    torch.testing.assert_close(walk.norm(dim=2), torch.full((2, 9), 2.0, dtype=torch.float64))
    angles = torch.cosine_similarity(walk[:, 1:], walk[:, :-1], dim=2).acos()
    whole = torch.cosine_similarity(a, b, dim=1).acos()
    torch.testing.assert_close(angles, (whole / 8).unsqueeze(1).expand(-1, 8))


def test_codes_of_one_direction_have_the_line_between_them():
    walk = tasks.interpolate(A, 3 * A, 5, "spherical")
    torch.testing.assert_close(walk, tasks.interpolate(A, 3 * A, 5))


def test_on_a_linear_decoder_the_geodesic_is_the_straight_line():
    walk = tasks.interpolate(A, B, 9, "geodesic", linear_decoder)
    torch.testing.assert_close(walk, tasks.interpolate(A, B, 9), rtol=1e-6, atol=1e-6)


def test_on_a_sphere_the_geodesic_is_the_great_circle():
    a, b = tensor([0.0, 0.7]), tensor([1.8, 0.9])
    walk = tasks.interpolate(a, b, 33, "geodesic", sphere)
    points = sphere(walk[0])
    angle = float((points[0] @ points[-1]).acos())
    assert float(tasks.length(walk, sphere)) == pytest.approx(angle, rel=1e-3)
    assert float(tasks.length(tasks.interpolate(a, b, 33), sphere)) > 1.05 * angle
    pole = torch.linalg.cross(points[0], points[-1])
    assert float((points @ (pole / pole.norm())).abs().max()) < 5e-3
    speeds = points.diff(dim=0).norm(dim=1)
    assert float(speeds.max() / speeds.min()) < 1.02


def test_the_geodesic_leads_around_a_hill_and_is_no_longer_than_the_line():
    ends = tensor([-2.0, 0.1]), tensor([2.0, 0.1])
    walk = tasks.interpolate(*ends, 33, "geodesic", hill)
    over = tasks.interpolate(*ends, 33)
    assert float(walk[0, 16].norm()) > 1
    assert float(tasks.length(walk, hill)) < 0.8 * float(tasks.length(over, hill))


def test_a_geodesic_leaves_the_decoder_without_gradients():
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5)).double()
    curved, straight = (tasks.interpolate(A, B, 9, path, decoder) for path in ("geodesic", "linear"))
    assert (tasks.length(curved, decoder) <= tasks.length(straight, decoder) + 1e-9).all()
    assert all(p.grad is None for p in decoder.parameters())


def test_a_traversal_moves_one_dimension_and_holds_the_others():
    offsets = tensor(-1.0, 0.0, 2.0)
    walk = tasks.traverse(A, offsets, [2, 0])
    assert walk.shape == (2, 2, 3, 3)
    torch.testing.assert_close(walk[:, 0, :, 2], A[:, 2:] + offsets)
    torch.testing.assert_close(walk[:, 0, :, :2], A[:, None, :2].expand(2, 3, 2))
    torch.testing.assert_close(walk[:, 1, :, 0], A[:, :1] + offsets)


def test_a_shift_is_the_difference_of_means():
    moved = tasks.shift(A, B, A, amount=2.0)
    torch.testing.assert_close(moved, A + 2 * (B.mean(0) - A.mean(0)))
    torch.testing.assert_close(tasks.shift(A, B, B), A)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.interpolate(A, B, 5, "sperical"), 'did you mean "spherical"'),
        (lambda: tasks.interpolate(A, B[:1], 5), "as many rows to end at as to begin with, got 2 and 1"),
        (lambda: tasks.interpolate(A, B, 1), "expected at least 2"),
        (lambda: tasks.interpolate(A, -A, 5, "spherical"), "two codes are opposite"),
        (lambda: tasks.interpolate(A, B, 5, "geodesic"), "pass decode"),
        (lambda: tasks.traverse(A, A[0], [3]), "expected numbers from 0 to 2, got 3"),
    ],
)
def test_a_wrong_walk_is_told(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


# -- through the estimator -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    (x, labels), _ = vk.datasets.digits(labels=True)
    return (
        vk.VAE(latent_dim=2, epochs=25, lr=6e-3, seed=0, validation=0, threads=1, compile=False).fit(x),
        x,
        np.asarray(labels),
    )


@pytest.mark.parametrize("path", ["linear", "spherical", "geodesic"])
def test_an_interpolation_of_rows_begins_and_ends_at_their_reconstructions(digits, path):
    vae, x, _ = digits
    walk = vae.interpolate(x[:3], x[3:6], steps=6, path=path)
    assert walk.shape == (3, 6, *x.shape[1:])
    assert walk.dtype == x.dtype
    np.testing.assert_allclose(walk[:, 0], vae.reconstruct(x[:3]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(walk[:, -1], vae.reconstruct(x[3:6]), rtol=1e-4, atol=1e-6)


def test_the_decoder_s_geodesic_is_never_longer_than_the_line(digits):
    vae, x, _ = digits
    a, b = (torch.from_numpy(vae.transform(rows)) for rows in (x[:8], x[8:16]))

    def mean(z):
        return vae.module_.decode(z).mean

    lengths = [tasks.length(tasks.interpolate(a, b, 33, p, mean), mean) for p in ("geodesic", "linear")]
    assert (lengths[0] <= lengths[1] * (1 + 1e-6)).all()
    assert (lengths[0] < 0.99 * lengths[1]).any()


def test_a_traversal_goes_through_the_row_or_the_prior_s_centre(digits):
    vae, x, _ = digits
    around = vae.traverse(x[:4], steps=5, reach=2.0)
    assert around.shape == (4, 2, 5, *x.shape[1:])
    np.testing.assert_allclose(around[:, 1, 2], vae.reconstruct(x[:4]), rtol=1e-4, atol=1e-6)
    centre = vae.traverse(dimensions=[1], steps=3)
    assert centre.shape == (1, 1, 3, *x.shape[1:])
    np.testing.assert_allclose(centre[0, 0], vae.inverse_transform([[0, -3], [0, 0], [0, 3]]), rtol=1e-4, atol=1e-6)


def test_a_shift_from_one_digit_to_another_moves_codes_there(digits):
    vae, x, labels = digits
    zeros, ones = x[labels == 0], x[labels == 1]
    shifted = vae.shift(zeros, present=ones, absent=zeros)
    assert shifted.shape == zeros.shape
    codes = [vae.transform(rows).mean(0) for rows in (shifted, ones, zeros)]
    assert math.dist(codes[0], codes[1]) < math.dist(codes[0], codes[2])
    still = vae.shift(zeros[:5], ones, zeros, amount=0.0)
    np.testing.assert_allclose(still, vae.reconstruct(zeros[:5]), rtol=1e-4, atol=1e-6)


def test_the_prior_s_centre_of_every_kind_of_latent_can_be_walked_from():
    x = vk.datasets.digits()[0][:60]
    for recipe in ("vamp", "ladder", "vq", "flow-prior"):
        vae = vk.VAE(recipe=recipe, latent_dim=2, epochs=0, validation=0).fit(x)
        walk = vae.traverse(steps=3)
        assert walk.shape[2:] == (3, *x.shape[1:])
        np.testing.assert_array_equal(walk, vae.traverse(steps=3))
