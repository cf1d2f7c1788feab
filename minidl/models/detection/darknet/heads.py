"""What a [yolo] layer makes of a map: boxes, how sure it is of each, and of which class.

    map (N, A (5+K), H, W) -> rows (N, A H W, 5+K) -> centres, sizes -> boxes (N, A H W, 4), scores (N, A H W, K)

Written from: Redmon, Farhadi 2016, "YOLO9000", arXiv:1612.08242, section 2, and 2018, "YOLOv3", arXiv:1804.02767,
sections 2.1 and 2.2; Bochkovskiy, Wang, Liao 2020, "YOLOv4", arXiv:2004.10934, section 3.4 (scale_x_y: "eliminate
grid sensitivity"); Wang, Bochkovskiy, Liao 2020, "Scaled-YOLOv4", arXiv:2011.08036 (new_coords).
"""
import numpy as np

from .... import ops
from ..yolo import like


class Head:
    """The arithmetic of a [yolo] layer.

    Args:
        options: of its section, as values.
    """

    def __init__(self, options):
        self.options = options
        self.anchors = np.reshape(options["anchors"], (-1, 2))         # all, in pixels
        self.mask = list(options["mask"])                              # those of this layer

    def rows(self, x):
        """A map (N, A (5+K), H, W) -> (N, A H W, 5+K): anchor by anchor, and in each row by row."""
        n, _, height, width = x.shape
        x = ops.reshape(x, (n, len(self.mask), -1, height, width))
        return ops.reshape(ops.permute_dims(x, (0, 1, 3, 4, 2)), (n, len(self.mask) * height * width, -1))

    def places(self, rows, grid, size):
        """Where the boxes of rows are.

        Args:
            rows (N, A H W, 5+K): as `rows` gives them.
            grid: (H, W) of the map.
            size: (height, width) of the images in pixels.

        Returns:
            offsets of the centres from the upper left corners of their cells, in cells, and the boxes, x1, y1, x2, y2
            in pixels: (N, A H W, 2) and (N, A H W, 4).
        """
        o, corner, anchor = self.options, *self._grid(rows, grid)
        xy, wh = rows[..., :2], rows[..., 2:4]
        xy = (xy if o["new_coords"] else ops.sigmoid(xy)) * o["scale_x_y"] - (o["scale_x_y"] - 1) / 2
        centre = (xy + corner) * like([size[1] / grid[1], size[0] / grid[0]], rows)
        wh = (ops.square(wh * 2.0) if o["new_coords"] else ops.exp(wh)) * anchor
        return xy, ops.concat([centre - wh * 0.5, centre + wh * 0.5], -1)

    def _grid(self, rows, grid):
        """(corners of the cells (A H W, 2) in cells, anchors (A H W, 2) in pixels), as the rows are ordered."""
        y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
        corner = np.tile(np.stack([x, y], -1), (len(self.mask), 1))
        anchor = np.repeat(self.anchors[self.mask], len(x), 0)
        return like(corner, rows), like(anchor, rows)

    def probabilities(self, numbers):
        """Of objects and classes, from what the map has for them."""
        return numbers if self.options["new_coords"] else ops.sigmoid(numbers)

    def decode(self, x, size):
        """A map (N, A (5+K), H, W), in an image of `size`, -> boxes (N, A H W, 4) x1, y1, x2, y2 in pixels; scores
        (N, A H W, K), probability of an object times that of its class.
        """
        rows = self.rows(x)
        _, boxes = self.places(rows, x.shape[2:], size)
        chances = self.probabilities(rows[..., 4:])
        return boxes, chances[..., 1:] * chances[..., :1]
