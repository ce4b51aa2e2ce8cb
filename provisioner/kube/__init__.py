"""What any Kubernetes controller needs: informer, queue, elector, events. Knows no claims and no targets."""
