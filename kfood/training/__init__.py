"""A training run on disk: schedules, freezing, validation, checkpoints, resume. What ``kfood train`` does is::

    with TrainingRun(folder, name, experiment, dataset) as run:
        for stage in run.stages():
            run.model.fit(**stage)

A run's folder::

    RUN/
      .lock                          held while a training runs
      config.json                    model, variant, config, the batch's spec, the training's settings, the dataset
      vocabulary/*.txt               copies of the dataset's
      checkpoints/last.weights.h5    after the last whole epoch: weights, every optimizer, random state, progress
      checkpoints/best.weights.h5    the same after the best epoch on validation
      checkpoints/backbone.weights.h5    that epoch's image backbone alone, for other models to start from
      metrics.csv                    a row an epoch: every named loss, validation scores, seconds
      tensorboard/                   the same for TensorBoard

An epoch is a pure function of the checkpoint before it, the seed and its number, and with the schedule ``"cosine"`` of
how many there are to be: a run that was killed goes on from its last whole epoch to the same weights as one that was
not. So does one that is given more epochs, but that a ``"cosine"`` is from there on the longer run's: the learning
rate, 0 at the old end, rises again.
"""

from kfood.training.callbacks import TrainingDivergedError
from kfood.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from kfood.training.config import TrainingConfig
from kfood.training.run import TrainingRun, train

__all__ = [
    "Progress",
    "TrainingConfig",
    "TrainingDivergedError",
    "TrainingRun",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
