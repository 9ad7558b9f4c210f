"""Every error that taskmix raises for a fault of its input or its surroundings: one tree, on one page.

A message says where, what was found, what is allowed and what to do. The command line prints it as one paragraph
and ends with exit code 2. A fault of our own is an `assert` or an ordinary exception, and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class TaskmixError(Exception):
    """Root of the tree; catch this to catch all that a caller can act on."""


class ConfigError(TaskmixError):
    """The configuration cannot be right. Carries every problem found, not only the first.

    Attributes:
        problems: one complete sentence a problem, each starting with the path of the key, e.g. `tasks.intent.dataset`.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class StorageError(TaskmixError):
    """Storage could not be reached, or refused: wrong keys, no such bucket, no permission, no space."""


class NotFound(StorageError):
    """The object or folder is not there."""


class AlreadyExists(StorageError):
    """A write-once object or folder is there already, with other content."""


class Incomplete(StorageError):
    """A folder lacks its manifest: its writer has not finished, or never will."""


class Corrupt(StorageError):
    """The bytes are not those that the manifest (or the archive's own checksum) promises."""


class DataError(TaskmixError):
    """The data cannot be what the configuration says it is; names file, line and remedy."""


class UnknownTask(TaskmixError):
    """A bundle or system was asked for a task that it was not trained on."""


class BundleError(TaskmixError):
    """A bundle cannot be loaded: absent parts, unknown kind, or made by an incompatible version."""


class ApiError(TaskmixError):
    """An endpoint is out of reach, refuses, or answers nonsense; answers that it gave before are on storage."""


class SpendingLimit(ApiError):
    """One more request could cross the spending limit; nothing was asked beyond it."""


class TrainingError(TaskmixError):
    """A job cannot be trained as configured: no usable examples, loss not finite, checkpoint not loadable."""


class EvaluationError(TaskmixError):
    """Predictions and data do not belong together, or a metric is undefined on them."""


class ServingError(TaskmixError):
    """The server did not start, did not get ready, or answered other than evaluation did."""


class RequestError(TaskmixError):
    """A request to a served model is the client's fault; answered with a 4xx.

    Attributes:
        faults: one complete sentence a fault, each starting with where it is, e.g. `instances[2].text`.
        status: the HTTP status that says it.
    """

    def __init__(self, faults: Sequence[str], *, status: int = 400) -> None:
        self.faults = tuple(faults)
        self.status = status
        super().__init__("; ".join(self.faults))


class Overloaded(ServingError):
    """More texts wait for an answer than the server takes; asking again later may work."""


class ClusterError(TaskmixError):
    """Kubernetes cannot be reached, refuses, or lacks what is needed: no cluster, no permission, no such kind."""


class Absent(ClusterError):
    """The object is not there."""


class Conflict(ClusterError):
    """The object was changed since it was read, or is there already."""


class Superseded(ServingError):
    """Another run has the deployment now, or has changed it: what this one decided no longer holds."""


class RolledBack(ServingError):
    """The release's bundles were rolled back: they are deployed again only where a person asks for it."""


class RolloutFailed(ServingError):
    """A release did not get ready on the cluster; what was served before is served still."""


class RunFailed(TaskmixError):
    """A step of a pipeline run failed; the message starts with the step's own error."""


class PipelineServiceError(TaskmixError):
    """Kubeflow Pipelines on the cluster is out of reach, refuses, is too old, or does not know what was asked for."""


class MissingExtra(TaskmixError):
    """A command needs packages that this installation leaves out; names the extra to install."""
