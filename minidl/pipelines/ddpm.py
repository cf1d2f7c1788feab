"""Images without a prompt: of a class, or any.

    from minidl.pipelines import DDPM
    images = DDPM.from_pretrained("directory")(labels=[3, 3, 7], seed=0)       # (3, H, W, C), uint8

Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239; guidance: Ho, Salimans 2022, arXiv:2207.12598.
"""
from ..models.diffusion.sampling import sample_images
from .image import ImagePipeline, to_uint8


class DDPM(ImagePipeline):
    """A network that is told the time, and perhaps a class, and its scheduler: diffusers' DDPMPipeline, DDIMPipeline.

    Args:
        unet, scheduler: its parts.

    It is drawn from as any Generator of the zoo is: `sample`, `num_classes`, `labels`, `pixel_range`.
    """

    pixel_range = (-1.0, 1.0)

    names = ("unet", "scheduler")
    kinds = ("DDPMPipeline", "DDIMPipeline")

    def __init__(self, unet, scheduler):
        super().__init__(unet=unet, scheduler=scheduler)

    @property
    def num_classes(self):
        """Of what it can be asked for; 0: it cannot."""
        return self.unet.config.num_classes

    @property
    def labels(self):
        """The names of the classes, as far as they are known."""
        return self.unet.labels

    def sample(self, count=1, seed=0, label=None, first=0, steps=25, guidance=3.0):
        """Draw images (count, C, H, W), about [-1, 1].

        Args:
            count: how many.
            seed: image i depends on the seed and on `first` + i alone; None: of the default generator.
            label: of what class, an integer; None: any, in turn.
            first: the number of the first image.
            steps, guidance: as of a call.

        Raises:
            ArgumentError: there is no such class.
        """
        labels = None
        if self.num_classes or label is not None:
            labels = [(first + i) % self.num_classes if label is None else label for i in range(count)]
        return sample_images(self.unet, self.scheduler, count, labels, steps, guidance,
                             None if seed is None else seed + first)

    def __call__(self, labels=None, num_images=1, steps=50, guidance=3.0, seed=None, callback=None):
        """Draw images.

        Args:
            labels: of classes, integers, an image each; None: `num_images` of any class.
            steps: of the scheduler.
            guidance: by how much classes are exaggerated; 1: not at all.
            seed: an integer, for the first image, and the following ones for the others; or a list; None: drawn.
            callback: called after each step with (number of steps done, of all, x).

        Returns:
            (N, H, W, C), uint8.

        Raises:
            ArgumentError: no such class; labels for a network that knows none.
        """
        def behind(step, total, x):
            if callback is not None:
                callback(step, total, x)
            return x

        return to_uint8(sample_images(self.unet, self.scheduler, num_images, labels, steps, guidance, seed, behind))
