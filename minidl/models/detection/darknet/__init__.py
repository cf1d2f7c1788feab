"""Darknet's networks: `.cfg`, `.weights`, YOLOv3 and YOLOv4.

    cfg -> layers -> heads -> model; networks: the cfgs; weights: the files; loss: what training lowers
"""
from .model import DarknetConfig, DarknetNetwork
