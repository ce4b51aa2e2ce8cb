"""The parts of a Kubernetes of one node: built, certified, started, and its images."""
