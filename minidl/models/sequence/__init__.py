"""Models of sequences and time series."""
