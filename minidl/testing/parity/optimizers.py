"""Optimizers, step by step, and the rates of schedules. The settings are read from the case's text."""
import re

import numpy as np

from ... import Tensor, optim
from . import Run, runs

RULES = {"sgd": "SGD", "sgd_mom_wd": "SGD", "sgd_nesterov": "SGD", "adam": "Adam", "adam_wd": "Adam", "adamw": "AdamW",
         "amsgrad": "Adam", "rmsprop": "RMSprop", "rmsprop_c_m": "RMSprop", "adagrad": "Adagrad",
         "adadelta": "Adadelta",
         "adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam"}


def settings(text):
    """{"lr": .02, "momentum": .9, "nesterov": True} from "lr .02 momentum .9 nesterov"."""
    words = re.sub(r"\(.*?\)", "", text).split()
    numbers = {w: float(n) for w, n in zip(words, words[1:]) if re.fullmatch(r"\d*\.?\d+", n)}
    return {**numbers, **{w: True for w in words if w in ("nesterov", "centered")}}


def schedules(text):
    """{"step": a function from optimizer to schedule} from the case's line about learning rates."""
    def numbers(word):
        inside = re.search(word + r"\((.*?)\)", text)[1]
        return [float(n) for n in re.findall(r"(?<![\w.])\d*\.?\d+", inside)]

    step, cosine, restarts, one = (numbers(w) for w in ("StepLR", "CosineAnnealingLR", "WarmRestarts", "OneCycleLR"))
    linear, poly, cyclic = (numbers(w) for w in ("LinearLR", "PolynomialLR", "CyclicLR"))
    gamma = float(re.search(r"exp (\d*\.?\d+)", text)[1])
    milestones = [int(n) for n in re.search(r"multistep \[(.*?)\]", text)[1].split(",")]
    return {"step": lambda o: optim.StepLR(o, int(step[0]), step[1]), "exp": lambda o: optim.ExponentialLR(o, gamma),
            "cosine": lambda o: optim.CosineAnnealingLR(o, cosine[0], cosine[1]),
            "cosine_wr": lambda o: optim.CosineAnnealingWarmRestarts(o, restarts[0], restarts[1]),
            "onecycle": lambda o: optim.OneCycleLR(o, one[0], int(one[1])),
            "multistep": lambda o: optim.MultiStepLR(o, milestones),
            "linear": lambda o: optim.LinearLR(o, linear[0], total_iters=linear[1]),
            "poly": lambda o: optim.PolynomialLR(o, poly[0], poly[1]),
            "cyclic": lambda o: optim.CyclicLR(o, cyclic[0], cyclic[1], cyclic[2])}


@runs("optimizers")
def optimizers(case):
    """torch.optim and torch.optim.lr_scheduler."""
    a, b = Tensor(case.inputs["A"]), Tensor(case.inputs["b"])
    outputs = {}
    for name, rule in RULES.items():
        w = Tensor(case.inputs["w0"].copy(), requires_grad=True)
        given = {**settings(case.config[name]), **({"amsgrad": True} if name == "amsgrad" else {})}
        optimizer, path = getattr(optim, rule)([w], **given), []
        for _ in range(case.config["steps"]):
            optimizer.zero_grad()
            d, square = (a @ w).tanh() - b, w * w
            ((d * d).sum() + (square * square).sum() * 0.1).backward()
            optimizer.step()
            path.append(w.numpy().copy())
        outputs[name] = np.stack(path)
    line = case.config["lr_*"]
    base, momentum = (float(re.search(p, line)[1]) for p in (r"base lr (\d*\.?\d+)", r"SGD momentum (\d*\.?\d+)"))
    for name, make in schedules(line).items():
        optimizer = optim.SGD([Tensor(np.zeros(1, "f4"), requires_grad=True)], lr=base, momentum=momentum)
        schedule, rates = make(optimizer), []
        for _ in range(case.meta["outputs"][f"lr_{name}"]["shape"][0]):
            rates.append(schedule.get_last_lr()[0])
            schedule.step()
        outputs[f"lr_{name}"] = np.array(rates, "f4")
    return Run(outputs)
