"""taskmix: fine-tune, compare, merge and serve text classifiers on Kubeflow, from one configuration file."""

__version__ = "0.1.0"
