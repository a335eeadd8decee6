"""The tasks that a model can be tuned for: what their examples need, and their published loss weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from training.data import Columns, Needs
from training.sequences import LossWeights

TaskName = Literal["caption", "draw", "classify", "answer", "text"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)

CAPTION_WEIGHTS = LossWeights(left=0.01, image=1.0, right=7.0)
"""The published captioning notebook."""
WEIGHTS: dict[TaskName, LossWeights] = {
    "caption": CAPTION_WEIGHTS,
    "draw": LossWeights(left=1.0, image=7.0, right=0.01),
    "classify": CAPTION_WEIGHTS,
    "answer": LossWeights(left=1.0, image=1.0, right=7.0),
    "text": LossWeights(left=1.0, image=0.01, right=7.0),
}
"""Published weights. Drawing, questions about images, and texts: the fine-tuning code of FBC2."""
TEXT_ANSWER_WEIGHTS = LossWeights(left=0.01, image=0.01, right=7.0)
"""Questions without an image: the published notebook of text questions."""
NEEDS: dict[TaskName, Needs] = {
    "caption": Needs.PAIRS,
    "draw": Needs.PAIRS,
    "classify": Needs.PAIRS,
    "answer": Needs.ANSWERS,
    "text": Needs.TEXTS,
}


@dataclass(frozen=True)
class TaskData:
    """A task and the data set that it is trained on."""

    task: TaskName
    data: Path
    share: float = 1.0
    """Sampling weight among the tasks of a run."""
    weights: LossWeights | None = None
    """Loss weights; None: the published ones of the task."""
    columns: Columns = field(default_factory=Columns)

    @property
    def loss_weights(self) -> LossWeights:
        """Loss weights of examples with an image."""
        return self.weights or WEIGHTS[self.task]

    @property
    def text_weights(self) -> LossWeights:
        """Loss weights of questions without an image."""
        return self.weights or TEXT_ANSWER_WEIGHTS
