"""Files of weights and of training states: safetensors out, and in whatever others have written.

    save(state, path)            a nest as one safetensors file, atomically
    load(path)                   the nest in a file, as arrays of one's own
    outline(path)                the same without its arrays: what else a checkpoint tells
    weights(path)                the state dict in a file or directory: a lazy Mapping of mapped arrays
    hub.download("org/name")     the directory of a model of the Hugging Face hub, in its cache here

Formats are told by the content, never by the name: safetensors, one file or shards with an index; torch's zip files
and the format before torch 1.6 (.pth, .pt, .bin, .pth.tar); pickles of modules and of nests of tensors (.pkl); npz;
CTranslate2's model.bin; directories in Hugging Face's layout. Pickles are read by a machine of our own that cannot run
anything (`inert`): what it does not know (`names`) it refuses by its name, and objects of classes that are not here
become `StandIn`s.
"""
from . import hub
from .checkpoint import load, outline, save
from .inert import StandIn
from .weights import Weights, weights

__all__ = ["StandIn", "Weights", "hub", "load", "outline", "save", "weights"]
