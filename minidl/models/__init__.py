"""The zoo: one file per architecture, built on the engine alone."""
