"""Noise models for inference from measured programming errors and retention."""

from fitlab.retention.fit import RetentionFit, fit_retention
from fitlab.retention.read import Retention, read_retention

__all__ = ["Retention", "RetentionFit", "fit_retention", "read_retention"]
