"""Run calls: from options to images, with replay, budgets and batch jobs."""
