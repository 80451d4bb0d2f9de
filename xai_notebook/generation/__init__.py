"""Answer calls: options in, pictures out, with replay, budgets and batch jobs."""
