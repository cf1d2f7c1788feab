"""Schedulers against closed forms: of Gaussian data the best network, and where each noise leads, are formulas."""
import json

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.errors import ArgumentError, CheckpointError
from minidl.models.diffusion import schedulers
from minidl.models.diffusion.schedulers.base import PREDICTIONS
from minidl.models.diffusion.schedulers.sigmas import SigmaScheduler, lagrange_integrals

SPREAD = 0.5                       # standard deviation of the data
NOISY = "ddpm", "unclip", "euler-a"
START = np.random.default_rng(0).standard_normal((2, 3, 40, 40)).astype("f4")
SETTINGS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def made(name, **settings):
    off = {"clip_sample": False} if name in ("ddpm", "ddim", "unclip") else {}
    return schedulers.create(name, **{**SETTINGS, **off, **settings})


def sampled(scheduler, n, start=START, seed=0):
    """What the best network for data N(0, SPREAD**2) leads to from some noise."""
    scheduler.set_timesteps(n)
    rng, x = np.random.default_rng(seed), Tensor(start) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x)
        if isinstance(scheduler, SigmaScheduler):
            sigma = scheduler.sigmas[scheduler.index]
            picture, rest = (sigma ** 2 + 1) ** -0.5, sigma * (sigma ** 2 + 1) ** -0.5
        else:
            picture, rest = map(float, scheduler.shares(np.array(t)))
        variance = (picture * SPREAD) ** 2 + rest ** 2
        x0, noise = given * (picture * SPREAD ** 2 / variance), given * (rest / variance)
        output = {"epsilon": noise, "sample": x0, "v_prediction": noise * picture - x0 * rest}
        x = scheduler.step(output[scheduler.config.prediction_type], t, x,
                           lambda: Tensor(rng.standard_normal(start.shape).astype("f4")))
    return x.numpy()


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_gaussian_data_come_back(name, prediction):
    settings = {"timestep_spacing": "trailing"} if name not in ("pndm", "unclip") else {}
    found = sampled(made(name, prediction_type=prediction, **settings), 250 if name in NOISY else 100)
    if name in NOISY:
        assert abs(found.std() - SPREAD) < 0.02 and abs(found.mean()) < 0.02
    else:                                              # (the same curve for each: x scales with its variance)
        assert abs(slope(found) - SPREAD) < 0.02


def slope(found):
    """By what START was multiplied."""
    return float((found * START).sum() / (START * START).sum())


@pytest.mark.parametrize("name, order", [("euler", 1), ("heun", 2), ("lms", 2), ("dpm++", 2)])
def test_orders(name, order):
    """Twice the steps, and the distance from the curve is a power of two of the order smaller."""
    errors = []
    for n in (20, 40):
        scheduler = made(name, final_sigmas_type="sigma_min", use_karras_sigmas=True)
        found = slope(sampled(scheduler, n)) / scheduler.init_noise_sigma
        low, high = scheduler.sigmas[-1], scheduler.sigmas[0]
        scale = ((low ** 2 + SPREAD ** 2) / (high ** 2 + SPREAD ** 2)) ** 0.5
        if name == "dpm++":                            # (there x has variance 1)
            scale *= ((high ** 2 + 1) / (low ** 2 + 1)) ** 0.5
        errors.append(abs(found / scale - 1))
    assert np.log2(errors[0] / errors[1]) > order - 0.3


def test_ddim_is_euler_in_sigma():
    settings = {"timestep_spacing": "leading", "steps_offset": 1}
    a = sampled(made("ddim", **settings), 20)
    sigma = made("euler", **settings)
    sigma.set_timesteps(20)
    b = sampled(made("euler", **settings), 20, START * sigma.sigmas[0] / sigma.init_noise_sigma
                * (1 + sigma.sigmas[0] ** -2) ** 0.5)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_ddim_with_all_the_noise_is_ddpm():
    a, b = (sampled(made(name, **given), 1000, START[:, :, :5]) for name, given in (
        ("ddpm", {}), ("ddim", {"eta": 1.0})))
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["ddpm", "euler"])
def test_a_target_tells_picture_and_noise(name, prediction):
    scheduler = made(name, prediction_type=prediction)
    x0, noise = Tensor(START), Tensor(START[::-1].copy())
    times = np.array([3, 950])
    noisy, target = scheduler.add_noise(x0, noise, times), scheduler.target(x0, noise, times)
    for i, t in enumerate(times):
        if name == "euler":
            sigma = float(scheduler.shares(times)[1][i])
            np.testing.assert_allclose(scheduler.derivative(target[i], noisy[i], sigma).numpy(), noise[i].numpy(),
                                       atol=0.05 if t < 9 else 1e-4)       # (a small sigma divides)
            continue
        back = scheduler.parts(target[i], noisy[i], *map(float, scheduler.shares(np.array(t))))
        np.testing.assert_allclose(back[0].numpy(), x0[i].numpy(), atol=1e-4)
        np.testing.assert_allclose(back[1].numpy(), noise[i].numpy(), atol=1e-3)


def test_nothing_is_left_of_the_picture_where_so_asked():
    assert made("ddim", rescale_betas_zero_snr=True).alphas_cumprod[-1] < 1e-6 < made("ddim").alphas_cumprod[-1]


def test_lagrange_integrals_are_exact_for_cubics():
    places, cubic = np.array([5.0, 3.0, 2.0, 0.5]), np.poly1d([2.0, -1.0, 3.0, 1.0])
    whole = cubic.integ()
    found = np.dot(lagrange_integrals(places, 5.0, 0.25), cubic(places))
    assert abs(found - (whole(0.25) - whole(5.0))) < 1e-9


@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_a_start_in_the_middle_is_the_end_of_the_whole(name):
    scheduler = made(name)
    scheduler.set_timesteps(20)
    whole = scheduler.timesteps
    scheduler.set_timesteps(20, start=8)
    assert scheduler.timesteps[-1] == whole[-1] and scheduler.timesteps[0] < whole[0]
    assert 12 <= len(scheduler.timesteps) < len(whole)
    if hasattr(scheduler, "sigmas"):
        assert len(scheduler.sigmas) == len(scheduler.timesteps) + 1


@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_as_many_steps_as_there_are_leave_no_room_for_an_offset(name):
    scheduler = made(name, num_train_timesteps=20, timestep_spacing="leading", steps_offset=1)
    assert np.isfinite(sampled(scheduler, 20, START[:, :, :2])).all()
    assert sorted(set(scheduler.timesteps.round())) == list(range(20))
    scheduler.set_timesteps(5)
    assert scheduler.timesteps[0] == (16 if name == "dpm++" else 17)           # (of n + 1 steps)


@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_configs_round_trip_and_go_from_class_to_class(name):
    scheduler = made(name, num_train_timesteps=40)
    told = json.loads(json.dumps(scheduler.to_dict()))
    again = schedulers.from_config(told)
    assert type(again) is type(scheduler) and again.config == scheduler.config
    for kind in schedulers.SCHEDULERS.values():
        assert kind.from_config({**told, "variance_type": None}).betas[3] == scheduler.betas[3]


@pytest.mark.parametrize("act, error", [
    (lambda: schedulers.create("dimm"), "Did you mean ddim"), (lambda: made("ddim", beta_strat=1), "beta_start"),
    (lambda: made("ddim", prediction_type="x"), "v_prediction"),
    (lambda: made("ddim", trained_betas=(0.1, 0.2)), "num_train_timesteps=1000 numbers"),
    (lambda: made("ddim", num_train_timesteps=2, trained_betas=(0.1, 1.2)), r"numbers in \[0, 1\]"),
    (lambda: made("ddim", beta_end=3.0), "beta_end"), (lambda: made("ddim", steps_offset=-1), "steps_offset"),
    (lambda: made("ddim").set_timesteps(0), "an integer in"),
    (lambda: made("ddim").set_timesteps(1001), "num_inference_steps"),
    (lambda: made("ddim").set_timesteps(10, start=10), "start"),
    (lambda: made("ddim").step(Tensor(START), 3, Tensor(START)), "the next of timesteps"),
    (lambda: schedulers.create("ddim").from_config({"thresholding": True}), "thresholding"),
    (lambda: schedulers.create("ddpm", variance_type="learned").step(Tensor(START), 999, Tensor(START)), "6 channels"),
    (lambda: made("ddim").add_noise(Tensor(START), Tensor(START), -1), r"integers in \[0, 1000\)"),
    (lambda: made("ddpm").add_noise(Tensor(START), Tensor(START), [3, 1000]), "timesteps"),
    (lambda: made("ddpm").add_noise(Tensor(START), Tensor(START), 7.5), "timesteps"),
    (lambda: made("euler").add_noise(Tensor(START), Tensor(START), 7.5), "timesteps of the schedule"),
    (lambda: schedulers.from_config({"_class_name": "X"}), "one of DDPMScheduler")])
def test_errors_say_what_to_do(act, error):
    with pytest.raises((ArgumentError, CheckpointError, ValueError), match=error):
        act()


def test_noise_of_the_default_generator_is_the_seeds():
    from minidl.backend.random import seed
    found = []
    for _ in range(2):
        seed(3)
        scheduler = made("euler-a")
        scheduler.set_timesteps(3)
        x = Tensor(START)
        for t in scheduler.timesteps:
            x = scheduler.step(ops.tanh(x), t, x)
        found.append(x.numpy())
    assert (found[0] == found[1]).all() and (found[0] != START).any()
