"""Containers: modules that hold modules or parameters, in order or by name."""
from collections.abc import Mapping, MutableMapping, MutableSequence
from itertools import groupby

from ..errors import ArgumentError, message
from ..tensor import Tensor
from .module import Module
from .parameter import Parameter


class _Container(Module):
    """What lies in a container are its attributes, so that the tree's walks find it."""

    kind = Module

    def _items(self):
        return {name: value for name, value in vars(self).items() if isinstance(value, self.kind)}

    def _checked(self, value):
        if not isinstance(value, self.kind):
            kind = self.kind.__name__
            raise ArgumentError(message(type(self).__name__, "item", f"a {kind}", type(value).__name__))
        return value

    def _fill(self, items):
        """Replace all that lies here."""
        items = {str(name): self._checked(value) for name, value in items}
        for name in self._items():
            del vars(self)[name]
        for name, value in items.items():
            self._register(name, value)

    def __len__(self):
        return len(self._items())

    def __iter__(self):
        return iter(self._items().values())

    def extra_repr(self):
        return ""

    __hash__, __eq__ = object.__hash__, object.__eq__          # (the abstract base classes compare by content)


class _List(_Container, MutableSequence):
    """Items by position. Inserting or deleting names all of them anew: "0", "1", ..."""

    def __init__(self, items=()):
        self._fill(enumerate(items))

    def _name(self, index):
        """The name of the item at a position."""
        names = list(self._items())
        try:
            return names[index]
        except (IndexError, TypeError):
            expected = f"a slice, or an integer below {len(names)}"
            raise ArgumentError(message(type(self).__name__, "index", expected, repr(index))) from None

    def __getitem__(self, index):
        names = self._name(index)
        if isinstance(names, str):
            return vars(self)[names]
        return type(self)([vars(self)[name] for name in names])

    def __setitem__(self, index, value):
        names = self._name(index)
        if isinstance(names, str):
            vars(self)[names] = self._checked(value)
        else:
            items = list(self)
            items[index] = value
            self._fill(enumerate(items))

    def __delitem__(self, index):
        items = list(self)
        self._name(index)                              # (raises where there is none)
        del items[index]
        self._fill(enumerate(items))

    def insert(self, index, value):
        """Put `value` before the item at `index`."""
        items = list(self)
        items.insert(index, value)
        self._fill(enumerate(items))

    def append(self, value):
        """Put `value` at the end, without naming the others anew. Gives the container."""
        self._register(str(len(self)), self._checked(value))
        return self

    def extend(self, values):
        """Put all values at the end. Gives the container."""
        for value in list(values):
            self.append(value)
        return self

    def index(self, value, start=0, stop=None):
        """The position of this very object."""
        return next((i for i, item in list(enumerate(self))[start:stop] if item is value), None)

    def __contains__(self, value):
        return any(item is value for item in self)

    def __add__(self, other):
        return type(self)([*self, *other])


class ModuleList(_List):
    """A list of modules.

    Args:
        modules: any iterable of them.

    Raises:
        ArgumentError: something in it is no module.
    """

    def __init__(self, modules=()):
        super().__init__(modules)

    def _lines(self):
        """Neighbours that read the same are written once, as `(0-11): 12 x Block(...)`."""
        number = 0
        for text, group in groupby(map(repr, self)):
            first, number = number, number + len(list(group))
            alone = number == first + 1
            yield f"({first}): {text}" if alone else f"({first}-{number - 1}): {number - first} x {text}"


class Sequential(_List):
    """Modules that run one after the other: the output of each is the input of the next.

    Args:
        modules: modules, or one dict of them, which names them.

    Raises:
        ArgumentError: something among them is no module.
    """

    def __init__(self, *modules):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            self._fill(modules[0].items())
        else:
            super().__init__(modules)

    def __getitem__(self, index):
        names = self._name(index)
        items = vars(self)
        return items[names] if isinstance(names, str) else Sequential({name: items[name] for name in names})

    def __add__(self, other):
        return Sequential(*self, *other)

    def forward(self, x):
        """What the last module makes of what the others made of x."""
        for module in self._items().values():
            x = module(x)
        return x


class _Parameters(_Container):
    """Tensors among the items become parameters."""

    kind = Parameter

    def _checked(self, value):
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            return Parameter(value)
        return super()._checked(value)

    def _lines(self):
        return [f"({name}): {type(p).__name__} of {p.dtype} {p.shape}" for name, p in self._items().items()]


class ParameterList(_Parameters, _List):
    """A list of parameters.

    Args:
        parameters: any iterable of Parameters; Tensors become Parameters.

    Raises:
        ArgumentError: something in it is neither.
    """

    def __init__(self, parameters=()):
        super().__init__(parameters)


class _Dict(_Container, MutableMapping):
    """Items by name, in the order in which they were set."""

    def __init__(self, items=None):
        self.update(items or {})

    def __getitem__(self, name):
        items = self._items()
        if name not in items:
            expected = f"one of {', '.join(items) or 'none'}"
            raise ArgumentError(message(type(self).__name__, "name", expected, repr(name)))
        return items[name]

    def __setitem__(self, name, value):
        value = self._checked(value)
        if name in self._items():
            vars(self)[name] = value
        else:
            self._register(name, value)

    def __delitem__(self, name):
        self[name]                                     # (raises where there is none)
        del vars(self)[name]

    def __iter__(self):
        return iter(self._items())

    def __contains__(self, name):
        return name in self._items()


class ModuleDict(_Dict):
    """A dict of modules.

    Args:
        modules: a dict, or (name, module) pairs. Names are strings without dots, and none that Module itself uses.

    Raises:
        ArgumentError: something in it is no module; a name cannot be one.
    """

    def __init__(self, modules=None):
        super().__init__(modules)


class ParameterDict(_Parameters, _Dict):
    """A dict of parameters.

    Args:
        parameters: a dict, or (name, Parameter) pairs; Tensors become Parameters. Names as for ModuleDict.

    Raises:
        ArgumentError: something in it is neither; a name cannot be one.
    """

    def __init__(self, parameters=None):
        super().__init__(parameters)
