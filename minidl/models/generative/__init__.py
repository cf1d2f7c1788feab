"""Models that make images, and those that judge them."""
