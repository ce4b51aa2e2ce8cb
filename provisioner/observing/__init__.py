"""What the provisioner shows of itself: health, metrics, traces."""
