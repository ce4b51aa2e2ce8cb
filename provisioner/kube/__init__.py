"""What any Kubernetes controller needs: client, informer, queue, elector, events. Knows no claims and no targets."""
