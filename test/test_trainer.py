"""The trainer: a run that learns, can be killed and resumed, and shared among processes."""

import copy
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_people import MODEL_RATE_HZ, mocap_folder, smooth_motion, windows, write_mocap
from ros_session import TIMEOUT_S, wait_for

from emf_ros.cli.main import main
from emf_ros.io import outputs
from emf_ros.model import export
from emf_ros.model.checkpoint import load_notes, load_weights, save_weights
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import LifterConfig, MotionFlowConfig
from emf_ros.train.card import command_of, model_card
from emf_ros.train.detector_errors import DetectorErrors
from emf_ros.train.diversity_config import DiversityConfig
from emf_ros.train.evaluate import evaluate, evaluate_file
from emf_ros.train.mocap import MocapError
from emf_ros.train.precision import multiply_in_bfloat16
from emf_ros.train.report import tables
from emf_ros.train.settings import TrainConfig
from emf_ros.train.trainer import Trainer
from emf_ros.train.training_log import TrainingError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

#: A network that learns in seconds.
TINY = {"frames": 9, "layers": 1, "dim": 32, "dim_rep": 32, "heads": 2}


@pytest.fixture
def mocap(tmp_path):
    return mocap_folder(tmp_path / "mocap")


def config(mocap, out, **changes):
    return TrainConfig("lite", str(mocap), str(out), batch=2, **changes)


def weights_of(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_a_run_goes_on_from_given_weights_of_any_size(mocap, tmp_path):
    torch.manual_seed(0)
    given = LifterConfig(
        frames=9, layers=1, dim=8, dim_rep=8, heads=2, motion=MotionFlowConfig(dim=12)
    )
    lifter = Lifter(given)
    save_weights(tmp_path / "given.safetensors", lifter)
    init = str(tmp_path / "given.safetensors")
    trainer = Trainer(config(mocap, tmp_path / "run", init=init), "cpu")
    assert trainer.lifter.config == given and trainer.lifter.training
    assert torch.equal(weights_of(trainer.lifter), weights_of(lifter))
    trainer.train_step()
    save_weights(init, Lifter(replace(given, normalization="image_width")))
    with pytest.raises(ValueError, match="normalization 'image_width'; training gives"):
        Trainer(config(mocap, tmp_path / "other", init=init), "cpu")


def test_a_network_grows_from_given_weights(mocap, tmp_path):
    torch.manual_seed(0)
    given = LifterConfig(
        frames=9, layers=1, dim=8, dim_rep=8, heads=2, motion=MotionFlowConfig(dim=12)
    )
    init = str(tmp_path / "given.safetensors")
    save_weights(init, Lifter(given))
    settings = {"layers": 2, "temporal_position": True}
    grown = Trainer(config(mocap, tmp_path / "run", init=init, lifter=settings), "cpu").lifter
    assert grown.config == replace(given, **settings)
    old, new = load_weights(init).state_dict(), grown.state_dict()
    for name, value in old.items():
        assert torch.equal(new[name], value), name
    added = set(new) - set(old)
    assert any("blocks.1." in name for name in added)
    assert "trunk.temporal_position" in added


def test_several_weights_begin_as_their_mean(mocap, tmp_path):
    given = LifterConfig(
        frames=9, layers=1, dim=8, dim_rep=8, heads=2, motion=MotionFlowConfig(dim=12)
    )
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        paths.append(str(tmp_path / f"{seed}.safetensors"))
        save_weights(paths[-1], Lifter(given))
    trainer = Trainer(config(mocap, tmp_path / "run", init=", ".join(paths)), "cpu")
    states = [load_weights(path).state_dict() for path in paths]
    for name, value in trainer.lifter.state_dict().items():
        mean = sum(state[name] for state in states) / 3
        assert torch.allclose(value, mean, atol=1e-6), name
    assert "--init 0.safetensors,1.safetensors,2.safetensors" in command_of(
        Trainer(config(mocap, tmp_path / "card", init=",".join(paths)), "cpu")
    )
    save_weights(paths[1], Lifter(replace(given, layers=2)))
    with pytest.raises(ValueError, match="different networks"):
        Trainer(config(mocap, tmp_path / "other", init=",".join(paths)), "cpu")


def test_the_command_of_a_card_can_be_pasted_into_a_shell(mocap, tmp_path):
    write_mocap(mocap / "names.npz", [("subject 1", smooth_motion(90, 3))])
    settings = ["cameras.fov_deg=[50, 90]", "lifter.motion.scales=[1, 2]", "validate_windows=2"]
    sizes = {**TINY, "motion": {"dim": 12}}
    made = config(mocap, tmp_path / "run", steps=1, lifter=sizes, validation=("subject 1", "a"))
    made = made.changed(settings)
    program, *words = shlex.split(command_of(Trainer(made, "cpu")))
    assert program == "emf-ros"
    again = tmp_path / "again"
    main([*words, "--mocap", str(mocap), "--out", str(again), "--device", "cpu"])
    # A state of other settings is refused.
    assert Trainer(replace(made, out=str(again)), "cpu").step == 1


@pytest.fixture
def given(tmp_path):
    """Writes weights with notes: the path of weights of a network of 9 frames."""

    def write(name="given", **training):
        sizes = LifterConfig(
            frames=9, layers=1, dim=8, dim_rep=8, heads=2, motion=MotionFlowConfig(dim=12)
        )
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, Lifter(sizes), {"training": json.dumps(training)} if training else {})
        return str(path)

    return write


def notes_of(trainer):
    trainer.save_weights()
    return json.loads(load_notes(trainer.weights_path)["training"])


def test_weights_know_the_subjects_of_the_weights_that_they_began_from(mocap, tmp_path, given):
    """And those of the weights before these, of all files whose mean they began as."""
    one, other = given("one", subjects=["x", "a"], validation=["b"]), given("two", subjects=["y"])
    run = config(mocap, tmp_path / "run", init=f"{one}, {other}", validation=("cmu02",))
    notes = notes_of(Trainer(run, "cpu"))
    assert notes["subjects"] == ["a", "b", "cmu49", "x", "y"] and notes["all_known"]
    assert notes["validation"] == ["cmu02"]
    init = str(tmp_path / "run" / "lite.safetensors")
    next_one = Trainer(config(mocap, tmp_path / "next", init=init), "cpu")
    assert notes_of(next_one) == notes | {"mean_pose_m": notes_of(next_one)["mean_pose_m"]}


def test_no_subject_of_the_initial_weights_is_held_back(mocap, tmp_path, given):
    init = given(subjects=["cmu02", "a"], validation=["b"])
    with pytest.raises(MocapError, match="trained before on cmu02, .* hold others back: b, cmu49"):
        Trainer(config(mocap, tmp_path / "run", init=init, validation=("cmu02", "b")), "cpu")
    # By default those that these weights were not trained on, first those that they held back.
    assert Trainer(config(mocap, tmp_path / "b", init=init), "cpu").validation_subjects == {"b"}
    init = given(subjects=["cmu02", "a"])
    chosen = Trainer(config(mocap, tmp_path / "run", init=init), "cpu").validation_subjects
    assert chosen == {"cmu49"}
    init = given(subjects=["cmu02", "cmu49", "a"])
    chosen = Trainer(config(mocap, tmp_path / "other", init=init), "cpu").validation_subjects
    assert chosen == {"b"}
    init = given(subjects=["cmu02", "cmu49", "a", "b"])
    with pytest.raises(MocapError, match="trained before on a, b, .* add motion of other subjects"):
        Trainer(config(mocap, tmp_path / "none", init=init), "cpu")


def test_a_resumed_run_holds_the_same_subjects_back(tmp_path, given):
    """Whatever was added to its folder, and whatever its initial weights are now."""
    folder = tmp_path / "mocap"
    folder.mkdir()
    write_mocap(folder / "two.npz", [(s, windows(1, 60, seed=1)[0].numpy()) for s in ("m", "n")])
    run = config(folder, tmp_path / "run", init=given(subjects=["x"]))
    first = Trainer(run, "cpu")
    assert first.validation_subjects == {"m"}
    first.save_state()
    given(subjects=["y"])
    write_mocap(folder / "new.npz", [("a", windows(1, 60, seed=2)[0].numpy())])
    again = Trainer(run, "cpu")
    assert again.validation_subjects == {"m"}
    assert notes_of(again)["subjects"] == ["a", "n", "x", "y"]


def test_a_state_without_notes_goes_on_with_the_same_subjects(mocap, tmp_path):
    """Version c69c482 wrote such."""
    run = config(mocap, tmp_path / "run")
    first = Trainer(run, "cpu")
    first.save_state()
    state = torch.load(first.state_path, weights_only=True)
    del state["training"]
    torch.save(state, first.state_path)
    assert notes_of(Trainer(run, "cpu")) == notes_of(first)


def test_weights_that_began_from_unknown_ones_say_so(mocap, tmp_path, given):
    trainer = Trainer(config(mocap, tmp_path / "run", init=given()), "cpu")
    assert "which may be subjects of the initial weights" in trainer.summary()
    assert not notes_of(trainer)["all_known"]
    report = evaluate(trainer.averaged, trainer.validation, trainer.device, 64)
    card = model_card(trainer, report, None)
    assert "It is not known on which subjects given.safetensors was trained" in card
    assert "which the weights were not trained on" not in card
    report = evaluate_file(trainer.weights_path, mocap, windows=64, device="cpu")
    assert next(tables(report)).startswith("It is not known on which subjects")


def test_muon_optimises_the_matrices_between_features(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path / "run", optimizer="muon"), "cpu")
    adamw, muon = trainer.optimizers
    theirs = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in trainer.lifter.named_parameters() if id(p) in theirs}
    assert all(n.endswith(".weight") for n in names)
    # EMF's first layers take keypoints; all its others, and W_embed behind it, take features.
    emf = {n for n in names if "blocks." not in n}
    assert emf == {
        "trunk.embed.weight",
        "motion_flow.original.3.weight",
        "motion_flow.enhance.0.weight",
        "motion_flow.enhance.3.weight",
        *(f"motion_flow.encoders.{scale}.3.weight" for scale in range(3)),
    }
    assert not any("norm" in n or "fusion" in n for n in names)
    assert any(".qkv." in n for n in names) and any(".fc1." in n for n in names)
    rest = [p for group in adamw.param_groups for p in group["params"]]
    everything = [p for p in trainer.lifter.parameters() if p.requires_grad]
    assert len(rest) + len(theirs) == len(everything)
    assert theirs.isdisjoint({id(p) for p in rest})
    before = {n: p.detach().clone() for n, p in trainer.lifter.named_parameters() if n in names}
    trainer.trained_s = 300.0  # past the start of the warm-up
    trainer.train_step()
    rate = muon.param_groups[0]["lr"]
    for name, p in trainer.lifter.named_parameters():
        if name in names:
            # The singular values of an update are made alike: about one, times 0.2 sqrt(the
            # longer side). AdamW's largest would be several times that.
            change = torch.linalg.svdvals(p - before[name]) / (0.2 * rate * max(p.shape) ** 0.5)
            assert 0.6 < change.max() < 1.4, name


def fewer_parameters(state):
    state["optimizers"][1]["param_groups"][0]["params"].pop()


def no_clips_ahead(state):
    del state["clips_left"]


@pytest.mark.parametrize("older", [fewer_parameters, no_clips_ahead])
def test_a_state_of_another_version_is_refused(mocap, tmp_path, older):
    trainer = Trainer(config(mocap, tmp_path / "run", optimizer="muon"), "cpu")
    trainer.save_state()
    state = torch.load(trainer.state_path, weights_only=True)
    older(state)
    torch.save(state, trainer.state_path)
    with pytest.raises(ValueError, match=r"of another version .*--init .*lite\.safetensors"):
        Trainer(config(mocap, tmp_path / "run", optimizer="muon"), "cpu")


def test_an_unknown_optimizer_is_refused(mocap, tmp_path):
    with pytest.raises(ValueError, match="optimizer must be one of adamw, muon, not 'sgd'"):
        config(mocap, tmp_path / "run", optimizer="sgd")


@pytest.mark.parametrize(("scale", "trained"), [(1e-5, False), (0.1, True)])
def test_published_local_scales_stay_as_they_are(mocap, tmp_path, scale, trained):
    given = LifterConfig(
        frames=9,
        layers=1,
        dim=8,
        dim_rep=8,
        heads=2,
        motion=MotionFlowConfig(dim=12),
        local_branch=True,
        layer_scale=scale,
    )
    init = str(tmp_path / "given.safetensors")
    save_weights(init, Lifter(given))
    trainer = Trainer(config(mocap, tmp_path / "run", init=init), "cpu")
    trainer.trained_s = 300.0
    trainer.train_step()
    scales = trainer.lifter.trunk.local_blocks[0].scale1
    assert bool((scales != scale).any()) == trained


def test_a_step_trains_and_reports_every_term(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path / "run"), "cpu")
    before = weights_of(trainer.lifter)
    trainer.trained_s = 300.0  # past the start of the warm-up
    reported = [trainer.train_step() for _ in range(3)]
    assert trainer.step == 3 and not torch.equal(before, weights_of(trainer.lifter))
    for terms in reported:
        assert set(terms) == {
            "position",
            "velocity",
            "acceleration",
            "smoothness",
            "likelihood",
        }
        assert all(math.isfinite(v) for v in terms.values())
    # The averaged weights follow behind.
    lag = (weights_of(trainer.averaged) - weights_of(trainer.lifter)).abs().sum()
    assert 0 < lag < (weights_of(trainer.lifter) - before).abs().sum()


def test_a_run_learns_what_it_is_shown(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path / "run", learning_rate=3e-3), "cpu")
    trainer.trained_s = 300.0
    position = [float(trainer.train_step()["position"]) for _ in range(16)]
    assert np.mean(position[-4:]) < 0.8 * position[0]


def test_short_windows_come_first_three_times_as_many(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path / "run", budget_minutes=1.0), "cpu")
    trainer.train_step()
    assert trainer.clips == 6
    trainer.trained_s = 50.0
    trainer.train_step()
    assert trainer.clips == 8


def test_the_learning_rate_warms_up_stays_and_cools_down(mocap, tmp_path):
    run = config(
        mocap,
        tmp_path / "run",
        budget_minutes=1.0,
        warmup=0.1,
        cooldown=0.4,
        learning_rate=1e-3,
    )
    trainer = Trainer(run, "cpu")
    rates = []
    for trainer.trained_s in (0.0, 6.0, 36.0, 42.0, 60.0, 600.0):
        rates.append(trainer.learning_rate())
    assert rates == pytest.approx([2e-5, 1e-3, 1e-3, 5e-4, 1e-5, 1e-5])


def test_the_budget_of_a_run_may_be_changed_when_it_goes_on(mocap, tmp_path):
    short = config(mocap, tmp_path / "run", budget_minutes=1.0, cooldown=0.5)
    trainer = Trainer(short, "cpu")
    trainer.trained_s = 45.0
    assert trainer.learning_rate() < 0.5 * short.learning_rate
    trainer.save_state()
    longer = Trainer(replace(short, budget_minutes=10.0), "cpu")
    assert longer.trained_s == 45.0
    assert longer.learning_rate() == short.learning_rate


def test_a_copy_of_a_run_cools_down_in_full_length_with_the_budget_of_the_page(mocap, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "use" / "training.md").read_text("utf-8")
    times = float(re.search(r"that is ([0-9.]+) times", page)[1])
    long = config(mocap, tmp_path / "run", budget_minutes=1000.0)
    trainer = Trainer(long, "cpu")
    trainer.trained_s = 3600.0
    trainer.save_state()
    copied = Trainer(replace(long, budget_minutes=60 * times), "cpu")
    rates = []
    for copied.trained_s in (3600.0, 3660.0, 3600.0 * times):
        rates.append(copied.learning_rate() / long.learning_rate)
    assert rates[0] == 1 and 0.8 < rates[1] < 1 and rates[2] == 0.01


def test_every_validation_adds_a_row_to_the_curve(mocap, tmp_path):
    run = config(mocap, tmp_path / "run", budget_minutes=1.0, validate_windows=64)
    for _ in range(2):
        Trainer(run, "cpu").train(0.1 / 60)
    head, *rows = (tmp_path / "run" / "lite.curve.csv").read_text().splitlines()
    assert head.split(",")[:3] == ["minutes", "step", "clips"] and "exact_mpjpe_mm" in head
    assert len(rows) == 2 and all(len(row.split(",")) == len(head.split(",")) for row in rows)


# ------------------------------------------------------------------------------ bfloat16


def test_products_in_bfloat16_are_near_those_in_float32():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))
    halved = copy.deepcopy(plain)
    multiply_in_bfloat16(halved)
    x = torch.randn(40, 5, 24)
    results = []
    for network in (plain, halved):
        own = x.clone().requires_grad_()
        network(own).square().sum().backward()
        results.append([own.grad, *(p.grad for p in network.parameters())])
    for exact, rounded in zip(*results, strict=True):
        assert rounded.dtype == torch.float32
        error = (exact - rounded).norm() / exact.norm()
        assert 1e-5 < error < 0.05


def test_what_is_trained_in_bfloat16_is_evaluated_in_float32():
    torch.manual_seed(0)
    plain = torch.nn.Linear(24, 32)
    halved = copy.deepcopy(plain)
    multiply_in_bfloat16(halved)
    x = torch.randn(7, 24)
    with torch.no_grad():
        assert torch.equal(halved(x), plain(x))


def test_a_state_of_other_settings_is_refused(mocap, tmp_path):
    Trainer(config(mocap, tmp_path / "run"), "cpu").save_state()
    for changed, value in (("learning_rate", 0.5), ("errors", DetectorErrors(bias=0.5))):
        with pytest.raises(ValueError, match=f"other settings .*{changed}"):
            Trainer(config(mocap, tmp_path / "run", **{changed: value}), "cpu")


def test_a_run_may_be_moved_to_other_folders(mocap, tmp_path):
    Trainer(config(mocap, tmp_path / "run"), "cpu").save_state()
    (tmp_path / "run").rename(tmp_path / "moved")
    mocap.rename(tmp_path / "data")
    Trainer(config(tmp_path / "data", tmp_path / "moved"), "cpu")


def test_a_slice_of_time_ends_with_a_state_and_weights(mocap, tmp_path):
    run = config(mocap, tmp_path / "run", budget_minutes=1.0, validate_windows=64)
    trainer = Trainer(run, "cpu")
    assert not trainer.train(0.2 / 60)
    assert 0.2 <= trainer.trained_s < 60 and trainer.step >= 1
    assert Trainer(run, "cpu").step == trainer.step
    saved = load_weights(trainer.weights_path)
    assert torch.equal(weights_of(saved), weights_of(trainer.averaged))


def test_a_spent_budget_is_reported_and_not_overrun(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path / "run", budget_minutes=1.0), "cpu")
    trainer.trained_s = 60.0
    assert trainer.train(5) and trainer.step == 0


def test_impossible_network_settings_are_refused(mocap, tmp_path):
    for changes, message in (({"frames": 2}, "frames must be"), ({"depth": 2}, "unknown settings")):
        with pytest.raises(ValueError, match=message):
            Trainer(config(mocap, tmp_path / "run", lifter=changes), "cpu")


# ------------------------------------------------------------------------------ interruptions

STEPS = 40


def command(mocap, out, *more):
    words = ["--preset", "lite", "--mocap", mocap, "--out", out, "--steps", STEPS, "--threads", 1]
    small = [f"lifter.{name}={value}" for name, value in TINY.items()]
    small += ["batch=2", "save_minutes=0.001", "validate_windows=64"]
    for setting in small:
        words += ["--set", setting]
    return [sys.executable, "-m", "emf_ros.cli", "train", *map(str, words), *more]


def small_run(mocap, out):
    run = TrainConfig("lite", str(mocap), str(out), steps=STEPS)
    settings = [f"lifter.{k}={v}" for k, v in TINY.items()]
    return run.changed([*settings, "batch=2", "save_minutes=0.001", "validate_windows=64"])


def test_a_killed_run_goes_on_as_if_it_had_not_been(mocap, tmp_path):
    """Killed without warning, probably while saving, of which it does little else."""
    whole = Trainer(small_run(mocap, tmp_path / "whole"), "cpu")
    assert whole.train(60.0)
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(mocap, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = out / "lite.state.pt"
    end = time.monotonic() + TIMEOUT_S
    while not state.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    second = Trainer(small_run(mocap, out), "cpu")
    assert 0 < second.step <= STEPS
    killed_at = second.step
    assert second.train(60.0)
    assert second.step == whole.step == STEPS
    difference = (weights_of(second.lifter) - weights_of(whole.lifter)).abs().max()
    assert difference < 1e-6, f"killed at step {killed_at}"
    assert (weights_of(second.averaged) - weights_of(whole.averaged)).abs().max() < 1e-6


@pytest.mark.parametrize("stopped_at", [3, 8, 11])
def test_a_resumed_run_goes_on_bit_by_bit(mocap, tmp_path, stopped_at):
    """Whether clips that were made ahead are left or not."""
    # One after the other: dropout draws from torch's own generator, which is the process's.
    whole = Trainer(small_run(mocap, tmp_path / "whole"), "cpu")
    for _ in range(stopped_at + 2):
        whole.train_step()
    first = Trainer(small_run(mocap, tmp_path / "parts"), "cpu")
    for _ in range(stopped_at):
        first.train_step()
    first.save_state()
    second = Trainer(small_run(mocap, tmp_path / "parts"), "cpu")
    assert (second.step, second.clips) == (stopped_at, first.clips)
    for _ in range(2):
        second.train_step()
    assert torch.equal(weights_of(whole.lifter), weights_of(second.lifter))
    assert torch.equal(weights_of(whole.averaged), weights_of(second.averaged))


def test_a_full_disk_loses_nothing(mocap, tmp_path, monkeypatch):
    trainer = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    trainer.train_step()
    trainer.save_state()
    kept = trainer.state_path.read_bytes()

    def part_on_a_full_device(real, ending):
        part = real.with_name(f"{real.stem}.part{ending}")
        part.symlink_to("/dev/full")  # every write fails for want of space
        return part

    trainer.train_step()
    with monkeypatch.context() as full:
        full.setattr(outputs, "_new_part", part_on_a_full_device)
        with pytest.raises(OSError, match="cannot write .*lite.state.pt: no space left on"):
            trainer.save_state()
        assert trainer.state_path.read_bytes() == kept
        with pytest.raises(TrainingError, match="no space .*the state before it is kept"):
            trainer._try_to_save(last=True)
        trainer._try_to_save(last=False)  # says so and goes on
    assert not list(trainer.out.glob("*.part*"))
    trainer._try_to_save(last=False)
    assert Trainer(small_run(mocap, tmp_path / "run"), "cpu").step == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_has_saved_its_last_step(mocap, tmp_path, monkeypatch, capfd, number):
    """By Ctrl-C or termination, long before the next state is due."""
    step = Trainer.train_step

    def signal_in_the_fifth(self):
        if self.step == 4:
            os.kill(os.getpid(), number)
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", signal_in_the_fifth)
    out = tmp_path / "run"
    words = [*command(mocap, out)[3:], "--device", "cpu", "--set", "save_minutes=1000.0"]
    assert main(words) == 128 + number
    line = capfd.readouterr().err.splitlines()[-1]
    assert "interrupted: step 5 is saved in" in line and "run the same command to go on" in line
    assert not list(out.glob("*.part*")) and (out / "lite.safetensors").exists()
    monkeypatch.setattr(Trainer, "train_step", step)
    again = Trainer(small_run(mocap, out).changed(["save_minutes=1000.0"]), "cpu")
    assert again.step == 5


def test_a_second_run_in_the_same_folder_is_refused(mocap, tmp_path):
    """It would overwrite the state of the first with an older one."""
    out = tmp_path / "run"
    # No step ends it before the second has asked.
    endless = ("--steps", "1000000")
    words = command(mocap, out, *endless)
    first = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for((out / "lite.state.pt").exists, "the state of the first run")
        second = subprocess.run(
            words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert second.returncode == 1
        assert f"another run is training in {out}" in second.stderr.splitlines()[-1]
        assert first.poll() is None
    finally:
        first.kill()
        first.wait(TIMEOUT_S)
    # A killed run holds nothing.
    assert main(command(mocap, out, *endless, "--minutes", "0.0001")[3:]) == 0


def test_a_run_goes_on_on_another_kind_of_device(mocap, tmp_path):
    """A GPU's random numbers have a state of 16 bytes. Those that follow are new."""
    first = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    first.train_step()
    first.save_state()
    state = torch.load(first.state_path, weights_only=True)
    of_a_gpu = [torch.zeros(16, dtype=torch.uint8)]
    torch.save(state | {"generators": of_a_gpu, "dropout": of_a_gpu}, first.state_path)
    second = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    assert second.step == 1 and torch.equal(weights_of(second.lifter), weights_of(first.lifter))
    drawn = [second.synthesizer.generator.initial_seed(), torch.initial_seed()]
    assert len({*drawn, *(first.config.seed + 1000 * rank for rank in range(64))}) == 66
    again = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    assert drawn == [again.synthesizer.generator.initial_seed(), torch.initial_seed()]
    second.train_step()


def test_another_number_of_processes_draws_numbers_of_its_own(mocap, tmp_path):
    """Not those of another process from its beginning, as at step 2000 with seed + 1000 * rank."""
    first = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    first.save_state()
    state = torch.load(first.state_path, weights_only=True)
    three = {name: 3 * state[name] for name in ("generators", "dropout", "clips_left")}
    torch.save(state | three | {"step": 2000}, first.state_path)
    second = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    drawn = [second.synthesizer.generator.initial_seed(), torch.initial_seed()]
    assert len({*drawn, *(first.config.seed + 1000 * rank for rank in range(64))}) == 66


def test_a_state_of_another_network_is_refused(mocap, tmp_path, given):
    run = config(mocap, tmp_path / "run", init=given())
    Trainer(run, "cpu").save_state()
    sizes = LifterConfig(frames=9, layers=1, dim=16, dim_rep=8, heads=2)
    save_weights(run.init, Lifter(sizes))
    with pytest.raises(ValueError, match=r"lite.state.pt holds another network .*--init describe"):
        Trainer(run, "cpu")


def test_a_broken_state_is_refused_by_name(mocap, tmp_path):
    trainer = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    trainer.state_path.write_bytes(b"half of a file")
    with pytest.raises(ValueError, match=r"lite.state.pt is no state of a run"):
        Trainer(small_run(mocap, tmp_path / "run"), "cpu")


def test_a_nan_loss_ends_the_run(mocap, tmp_path):
    trainer = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    with torch.no_grad():
        trainer.lifter.position_head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss or its gradient is no number at step 1:"):
        trainer.train(60.0)


def test_a_nan_gradient_of_a_finite_loss_ends_the_run(mocap, tmp_path):
    trainer = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    before = weights_of(trainer.lifter)
    trainer.lifter.position_head.bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="its gradient is no number at step 1:"):
        trainer.train(60.0)
    assert torch.equal(weights_of(trainer.lifter), before) and not trainer.state_path.exists()


@pytest.mark.parametrize("part", ["lifter", "averaged"])
def test_nan_weights_are_not_saved_over_good_ones(mocap, tmp_path, part):
    """On a GPU the loss is read every 20 steps, and the weights are saved between."""
    trainer = Trainer(small_run(mocap, tmp_path / "run"), "cpu")
    trainer._try_to_save(last=True)
    files = {path: path.read_bytes() for path in (trainer.state_path, trainer.weights_path)}
    with torch.no_grad():
        getattr(trainer, part).position_head.bias[0] = float("inf")
    for last in (False, True):
        with pytest.raises(
            TrainingError, match="weights are no numbers at step 0; .*earlier state"
        ):
            trainer._try_to_save(last)
    assert files == {path: path.read_bytes() for path in files}


def test_a_run_on_a_gpu_that_ends_before_its_loss_is_read_does_not_end_well(mocap, tmp_path):
    trainer = Trainer(small_run(mocap, tmp_path / "run").changed(["steps=1"]), "cpu")
    with torch.no_grad():
        trainer.lifter.position_head.bias.fill_(float("nan"))
    trainer.device = torch.device("cuda")  # for what it reads; the network stays where it is
    with pytest.raises(TrainingError, match="weights are no numbers at step 1"):
        trainer.train(60.0)


# ------------------------------------------------------------------------------ its files


def test_the_command_leaves_weights_a_card_and_scalars(mocap, tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        command(mocap, out), capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    notes = json.loads(load_notes(out / "lite.safetensors")["training"])
    assert notes["subjects"] == ["a", "b"] and notes["validation"] == ["cmu02", "cmu49"]
    assert np.array(notes["mean_pose_m"]).shape == (17, 3)
    lifter = load_weights(out / "lite.safetensors")
    assert (lifter.scale_offset[1:] != 0).all() and lifter.scale_offset[0] == 0
    card = (out / "lite.md").read_text()
    assert f"--steps {STEPS}" in card and "--set lifter.layers=1" in card and "cmu49" in card
    assert "is not written" not in card
    for name in ("lite.onnx", "lite_fp16.onnx"):
        assert (out / name).stat().st_size > 1000
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars = EventAccumulator(str(out / "tensorboard"))
    scalars.Reload()
    assert {"loss/position", "learning_rate", "validation/mpjpe_mm"} <= set(
        scalars.Tags()["scalars"]
    )


def test_new_weights_take_away_what_was_made_of_the_old_ones(mocap, tmp_path):
    trainer = Trainer(config(mocap, tmp_path), "cpu")
    for name in ("lite.onnx", "lite_fp16.onnx", "lite.md", "notes.md"):
        (tmp_path / name).write_text("of a finished run")
    trainer.save_weights()
    assert {path.name for path in tmp_path.glob("*.*")} >= {"lite.safetensors", "notes.md"}
    assert not list(tmp_path.glob("lite*.onnx")) and not (tmp_path / "lite.md").exists()


def test_a_failed_export_leaves_the_weights_and_a_card(mocap, tmp_path, monkeypatch, capsys):
    """And no export of other weights, which would run in place of these."""
    monkeypatch.setitem(export.TOLERANCE, True, 0.0)
    out = tmp_path / "run"
    out.mkdir()
    (out / "lite_fp16.onnx").write_bytes(b"of an earlier run")
    words = ("--steps", "1", "--set", "save_minutes=3.0", "--device", "cpu")
    assert main(command(mocap, out, *words)[3:]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"emf-ros: .*lite_fp16.onnx is not written: the file differs from torch by .* than 0; "
        f"weights and model card are in {out}",
        error,
    )
    assert "lite_fp16.onnx is not written: the file differs" in (out / "lite.md").read_text()
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert files == {"lite.curve.csv", "lite.md", "lite.onnx", "lite.safetensors", "lite.state.pt"}


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_of_the_export_is_named_before_the_training(
    mocap, tmp_path, monkeypatch, capsys, package
):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(command(mocap, tmp_path / "run")[3:]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"the export needs {package} (pip install {package})" in error
    assert not (tmp_path / "run" / "lite.state.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--preset", "huge"), "unknown preset 'huge'"),
        (("--mocap", "/nowhere"), "no .npz motion capture in /nowhere"),
        (("--validation", "nobody"), "no clip of the validation subjects nobody"),
        (("--init", "/nowhere.safetensors"), "there is no weights file"),
        (("--set", "lerning_rate=1"), "no setting 'lerning_rate'"),
        (("--out", "/dev/null/run"), "cannot write /dev/null/run"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(mocap, tmp_path, capsys, change, message):
    arguments = command(mocap, tmp_path / "run", *change)[3:]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("emf-ros: ") and message in error


# ------------------------------------------------------------------------------ several processes


def curve(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return np.array([e.value for e in events.Scalars("loss/position")])


def test_two_processes_learn_as_one_with_the_doubled_batch(mocap, tmp_path):
    steps = ("--steps", "140", "--set", "save_minutes=1")
    # Standalone: on a free port.
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for words in (
        [*two, "-m", *command(mocap, tmp_path / "two", *steps)[2:]],
        command(mocap, tmp_path / "one", *steps, "--set", "batch=4"),
    ):
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=800, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, both = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(both) == 7
    # Other random batches: the curves agree within their noise, and both fall.
    assert np.abs(np.log(both[2:] / one[2:])).mean() < 0.12
    assert both[-1] < 0.85 * both[0]
    cards = [(tmp_path / name / "lite.md").read_text() for name in ("one", "two")]
    clips = [re.search(r"([\d,]+) clips", card).group(1) for card in cards]
    assert clips[0] == clips[1]


# ------------------------------------------------------------------------------ learning


def test_training_from_scratch_lowers_the_validation_error_steadily(tmp_path):
    """Half a minute of a small network, through cameras, canonical windows, loss and metric.

    Where input and truth do not belong together (a broken projection, mirror or frame) or the loss
    does not pull the right way, no more can be learned than the mean pose, 187 mm off here.
    """
    people = windows(120, 60, seed=3).numpy()
    (tmp_path / "mocap").mkdir()
    clips = [(f"s{i % 12}", motion) for i, motion in enumerate(people)]
    write_mocap(tmp_path / "mocap" / "people.npz", clips, fps=MODEL_RATE_HZ)
    none = DiversityConfig(0, halves=0, keys=0, rotations=0, lengths=0, tilt=0)
    run = TrainConfig(
        "lite",
        str(tmp_path / "mocap"),
        str(tmp_path / "run"),
        lifter={**TINY, "layer_scale": 1.0},
        steps=400,
        batch=16,
        short_share=0.0,
        learning_rate=4e-3,
        ema=0.98,
        errors=DetectorErrors.none(),
        diversity=none,
    )
    trainer, errors = Trainer(run, "cpu"), []
    for _ in range(5):
        report = evaluate(trainer.averaged, trainer.validation, trainer.device, 192, ("exact",))
        errors.append(report["exact"]["lag"]["0"]["mpjpe_mm"])
        for _ in range(100 if len(errors) < 5 else 0):
            trainer.train_step()
    assert errors == sorted(errors, reverse=True), errors
    assert errors[-1] < 174, errors
