"""Train one job in a process of its own, so that a test can kill it: `train_job.py JOB_JSON DATASET STORAGE`."""

import sys
import warnings

from taskmix.config.plan import JobSlice
from taskmix.training.job import finetune

if __name__ == "__main__":
    warnings.simplefilter("default")
    print(finetune(JobSlice.model_validate_json(sys.argv[1]), datasets=[sys.argv[2]], storage=sys.argv[3]), flush=True)
