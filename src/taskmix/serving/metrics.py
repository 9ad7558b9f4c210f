"""What the server counts, for Prometheus; `GET /metrics` tells it beside kserve's own figures.

Labels and slots come from the model's label spaces, so the number of series is bounded whatever users send. No texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from taskmix.modeling.answers import NO_ANSWER, TaskHead
from taskmix.serving.predictor import Prediction

REQUESTS = Counter("taskmix_requests", "Requests for predictions, by protocol and HTTP status.", ["protocol", "status"])
SECONDS = Histogram(
    "taskmix_request_seconds",
    "From a request's headers to its answer, those refused too.",
    ["protocol"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
BATCH_TEXTS = Histogram(
    "taskmix_batch_texts", "Texts that shared a call of the model.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_TEXTS = Gauge("taskmix_queue_texts", "Texts that wait for the model.")
ANSWERS = Counter(
    "taskmix_answers", "Answers of classification tasks by label, of slot tasks by slot.", ["task", "label"]
)
TEXTS = Counter("taskmix_texts", "Texts answered, by task.", ["task"])
OUT_OF_SCOPE = Counter("taskmix_out_of_scope", "Texts whose answer was below the task's threshold.", ["task"])


class AnswerCounter:
    """Counts answers by task and label; every series is there from the start, at 0, so that a rate can be taken.

    Args:
        heads: the tasks that are served.
    """

    def __init__(self, heads: Mapping[str, TaskHead]) -> None:
        self._labels = {
            task: {label: ANSWERS.labels(task, label) for label in (*head.labels.labels, NO_ANSWER)}
            for task, head in heads.items()
        }
        self._texts = {task: TEXTS.labels(task) for task in heads}
        self._out = {task: OUT_OF_SCOPE.labels(task) for task, head in heads.items() if head.type == "classification"}

    def count(self, predictions: Sequence[Prediction]) -> None:
        """Count the answers of a batch."""
        for prediction in predictions:
            for task, answer in prediction.items():
                self._texts[task].inc()
                if isinstance(answer, dict):
                    self._labels[task][answer["label"]].inc()
                    if not answer["in_scope"]:
                        self._out[task].inc()
                else:
                    for slot in answer:
                        self._labels[task][slot["slot"]].inc()


def count_request(protocol: str, *, status: int, seconds: float) -> None:
    """Count a request that has been answered, or refused."""
    REQUESTS.labels(protocol, str(status)).inc()
    SECONDS.labels(protocol).observe(seconds)
