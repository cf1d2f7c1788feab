"""Training of adversaries: networks that take turns, each at the others' cost.

    game = GAN(ml.create_model("dcgan", image_size=28, in_channels=1))
    optimizers = {turn: optim.Adam([p for m in game.learners(turn) for p in m.parameters()], 2e-4, (0.5, 0.999))
                  for turn in game.turns}
    AdversarialTrainer(game, optimizers, epochs=20, ema=optim.EMA(game.generator)).fit(loader)
"""
import math
import warnings
from collections.abc import Mapping
from contextlib import contextmanager

from ..errors import ArgumentError, MinidlError, fields, message, number
from ..optim import clip_grad_norm_
from .callbacks import Callback
from .metrics import Mean
from .trainer import Trainer


class AdversarialTrainer(Trainer):
    """Plays a game: at each batch the networks of each turn learn, one after the other, while the others stand still.

    Batches have two parts: images and labels, or images of two kinds.  What makes the rest of a run, bit for bit, is
    in `state_dict()`, as of Trainer.

    Args:
        game: a games.Game.
        optimizers: {turn: an optimizer over the parameters of its learners}.
        schedules: {turn: a schedule}, stepped with the optimizers; None: none.
        ema: an optim.EMA, of the generator as a rule, updated after each batch.
        clip_norm: the largest gradient norm of a turn.
        options: epochs, callbacks, device, info, as of Trainer.

    Raises:
        ArgumentError: the optimizers are not those of the turns; as of Trainer.
    """

    def __init__(self, game, optimizers, *, schedules=None, **options):
        for name, given in (("optimizers", optimizers), ("schedules", schedules or optimizers)):
            if not isinstance(given, Mapping) or given.keys() != game.turns.keys():
                got = ", ".join(map(str, given)) or "none" if isinstance(given, Mapping) else type(given).__name__
                raise ArgumentError(message("AdversarialTrainer", name, f"one each of {', '.join(game.turns)}", got))
        if options.get("accumulate", 1) != 1 or options.get("metrics"):
            raise ArgumentError(message("AdversarialTrainer", "options", "neither accumulate nor metrics",
                                        ", ".join(options)))
        self.turns = {turn: _TurnLoss(turn) for turn in game.turns}
        optimizers, schedules = (given and _Together((turn, given[turn]) for turn in game.turns)
                                 for given in (optimizers, schedules))
        super().__init__(game, optimizers, None, schedule=schedules, **{**options, "metrics": self.turns.values()})

    def fit(self, loader, validation=None, resume=None):
        """As `Trainer.fit`; there is no loss that could be validated.

        Raises:
            ArgumentError: `validation` is given.
            MinidlError: a loss is no finite number; it names the turn and the step.
        """
        if validation is not None:
            raise ArgumentError(message("AdversarialTrainer", "validation", "None: losses of a game measure nothing",
                                        type(validation).__name__))
        return super().fit(loader, None, resume)

    def train_batch(self, batch):
        """A step of every turn that is due."""
        first, second = self.batch(batch)
        total, n = 0.0, first.shape[0]
        for turn, mean in self.turns.items():
            if self.step % self.model.every.get(turn, 1):
                continue
            with _standing_still(self.model, self.model.learners(turn)) as learning:
                loss = self.model.loss(turn, first, second, self.step)
                value = loss.item()
                self._demand_finite(turn, value)
                loss.backward()
            if self.clip_norm is not None:
                clip_grad_norm_(learning, self.clip_norm)
            self.optimizer[turn].step()
            self.optimizer.zero_grad()
            mean.update(value, n)
            total += value
        self.mean_loss.update(total, n)
        self.step, self.batches = self.step + 1, self.batches + 1
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update()

    def _demand_finite(self, turn, value):
        if not math.isfinite(value):
            hint = "The game has diverged: go on from a checkpoint, with lower learning rates or a penalty (r1)."
            raise MinidlError(message("AdversarialTrainer", f"loss of the {turn}", "a finite number",
                                      f"{value} at step {self.step}", hint))

    def state_dict(self):
        """All that the rest of the run depends on."""
        return {**super().state_dict(), "game": self.model.extra_state()}

    def load_state_dict(self, saved):
        """Go on from there; as of Trainer."""
        extra, = fields("AdversarialTrainer", saved, "game")
        super().load_state_dict(saved)
        self.model.load_extra_state(extra)


class ModeCollapse(Callback):
    """Warns when generated images have become alike.

    Args:
        share: of the deviation of real images, below which they are.
        patience: for so many steps in a row.
    """

    def __init__(self, share=0.1, patience=50):
        number("ModeCollapse", "share", share, 0, 1)
        number("ModeCollapse", "patience", patience, 1, whole=True)
        self.share, self.patience, self.steps = share, patience, 0

    def on_step_end(self, trainer):
        spread = trainer.model.spread()
        if spread is None:
            return
        self.steps = self.steps + 1 if spread[0] < self.share * spread[1] else 0
        if self.steps == self.patience:
            got = f"{spread[0]:.2g}, and {spread[1]:.2g} of real ones, for {self.patience} steps"
            hint = "They are all alike: start again with lower learning rates or a penalty (r1)."
            warnings.warn(message("ModeCollapse", "generated images", "a deviation over the batch", got, hint),
                          RuntimeWarning, stacklevel=2)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, saved):
        self.steps, = fields(self.name, saved, "steps")


class _TurnLoss(Mean):
    """The mean loss of a turn."""

    def __init__(self, turn):
        super().__init__()
        self.turn = turn

    name = property(lambda self: self.turn)


class _Together(dict):
    """Optimizers, or schedules, by turn: as one for what a Trainer does with all."""

    @property
    def param_groups(self):
        return [group for part in self.values() for group in part.param_groups]

    def step(self):
        for part in self.values():
            part.step()

    def zero_grad(self):
        for part in self.values():
            part.zero_grad()

    def state_dict(self):
        return {turn: part.state_dict() for turn, part in self.items()}

    def load_state_dict(self, saved):
        for part, state in zip(self.values(), fields("AdversarialTrainer", saved, *self)):
            part.load_state_dict(state)


@contextmanager
def _standing_still(game, learners):
    """Inside, only these have gradients; gives their parameters. What was frozen stays frozen."""
    learning = [p for module in learners for p in module.parameters() if p.requires_grad]
    own = {id(p) for p in learning}
    still = [p for p in game.parameters() if p.requires_grad and id(p) not in own]
    for p in still:
        p.requires_grad = False
    try:
        yield learning
    finally:
        for p in still:
            p.requires_grad = True
