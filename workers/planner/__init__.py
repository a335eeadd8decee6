"""Jobs to work items, and their results to job results: the only translator between queue and engine."""

from workers.planner.job_events import to_job_event
from workers.planner.plan import Plan, plan
from workers.planner.refusal import Refused

__all__ = ["Plan", "Refused", "plan", "to_job_event"]
