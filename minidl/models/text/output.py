"""What language models give: named results, as their Hugging Face twins name them."""


class Output:
    """Results by name; those that are None were not asked for.

    `output.logits`, `output["logits"]`, and by position among those that are there, `output[0]`.
    """

    def __init__(self, **results):
        vars(self).update(results)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def keys(self):
        """The names of the results that are there."""
        return [name for name, value in vars(self).items() if value is not None]

    def __getitem__(self, key):
        return getattr(self, key if isinstance(key, str) else self.keys()[key])

    def __iter__(self):
        return iter(self.to_tuple())

    def to_tuple(self):
        """The results that are there."""
        return tuple(self[name] for name in self.keys())

    def __repr__(self):
        return f"Output({', '.join(self.keys())})"
