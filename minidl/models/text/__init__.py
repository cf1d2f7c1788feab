"""Language models, one file an architecture. Names and fields of results as their Hugging Face twins have them."""
