"""Decides from counts, at any moment, whether the canary hurts; its error promise holds however often it looks."""

from rollout_controller.core.judge.assess import Assessment, assess, suspects
from rollout_controller.core.judge.step import StepView

__all__ = ["Assessment", "StepView", "assess", "suspects"]
