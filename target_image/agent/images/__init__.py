"""Images: where they may come from, how they are fetched, checked, converted and kept."""
