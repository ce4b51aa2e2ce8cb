"""tgtd in user space: processes, their management socket, and the plan of what to ask of it."""
