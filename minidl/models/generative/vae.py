"""Variational autoencoders: of two layers, convolutional, and semi-supervised (M2).

Source: Kingma, Welling 2013, "Auto-Encoding Variational Bayes", arXiv:1312.6114 (the bound: eq. 10); beta: Higgins et
al. 2017, "beta-VAE"; the importance-weighted bound: Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519, eq. 8;
M2: Kingma, Rezende, Mohamed, Welling 2014, "Semi-supervised Learning with Deep Generative Models", arXiv:1406.5298.
Differs from the papers: the log variance is what encoders give; hidden layers are ReLUs.

    image (N,C,H,W) -> mu, logvar (N,Z); z = mu + exp(logvar / 2) * noise -> reconstruction, probabilities of pixels
"""
import math
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, message, number
from ..config import ModelConfig
from ..registry import family
from ..text.output import Output
from .generator import Generator


class VariationalAutoencoder(Generator):
    """What they share: bounds of the log-likelihood of images whose pixels lie in [0, 1], taken as probabilities.

    A subclass defines `encode(image, labels)`, the mean and log variance of a latent (N, Z), and
    `decode(z, labels)`, logits of pixels (N, C, H, W).
    """

    pixel_range = (0.0, 1.0)

    def shape(self, count):
        """Of so many images."""
        c = self.config
        return count, c.in_channels, c.image_size, c.image_size

    def generate(self, latents, labels=None):
        """latents (N, Z), labels (N) or None -> images (N, C, H, W)."""
        return ops.sigmoid(self.decode(latents, labels))

    def forward(self, image, noise=None):
        """image (N, C, H, W) -> Output of reconstruction, of image's shape, mu (N, Z) and logvar (N, Z).

        Args:
            noise (N, Z): standard normal; None: drawn, in evaluation zeros.
        """
        mu, logvar = self.encode(image)
        z = self.latent(mu, logvar, noise)
        return Output(reconstruction=ops.sigmoid(self.decode(z)).reshape(image.shape), mu=mu, logvar=logvar)

    def latent(self, mu, logvar, noise=None):
        """z = mu + exp(logvar / 2) * noise; noise as of `forward`."""
        if noise is None:
            if not self.training:
                return mu
            noise = ops.randn(mu.shape, dtype=mu.dtype, device=mu.device)
        return mu + ops.exp(logvar * 0.5) * noise

    def bound(self, image, labels=None, noise=None, beta=1.0):
        """The evidence lower bound of each image, in nats (N): how well it is rebuilt, less beta times the KL.

        Args:
            image (N, C, H, W): pixels in [0, 1].
            labels: what `encode` and `decode` take.
            noise (N, Z): as of `forward`.
            beta: what a nat of divergence costs.
        """
        mu, logvar = self.encode(image, labels)
        logits = self.decode(self.latent(mu, logvar, noise), labels)
        return log_bernoulli(image, logits) - divergence(mu, logvar) * beta

    def loss(self, image, beta=1.0):
        """The mean over images of -`bound`: ()."""
        return -ops.mean(self.bound(image, beta=beta))

    def importance_bound(self, image, samples=5, noise=None):
        """A bound of each image's log-likelihood that is the tighter the more samples it is made of: (N).

        Args:
            image (N, C, H, W): pixels in [0, 1].
            samples: K, latents per image; 1 is `bound`, with the divergence estimated.
            noise (K, N, Z): standard normal; None: drawn.
        """
        number("importance_bound", "samples", samples, 1, whole=True)
        mu, logvar = self.encode(image)
        if noise is None:
            noise = ops.randn((samples, *mu.shape), dtype=mu.dtype, device=mu.device)
        k, n, size = noise.shape
        z = mu + ops.exp(logvar * 0.5) * noise
        likelihood = log_bernoulli(image, self.decode(z.reshape(k * n, size)).reshape(k, n, -1))
        # the densities of prior and posterior, each less log(2 pi) / 2 per number
        prior, posterior = ops.sum(z * z, -1) * -0.5, ops.sum(noise * noise + logvar, -1) * -0.5
        return ops.logsumexp(likelihood + prior - posterior, 0) - math.log(k)


def log_bernoulli(image, logits):
    """The log-probability of each image (N), or (K, N) of logits (K, N, P); pixels in [0, 1] are shares of heads."""
    rows = image.reshape(image.shape[0], -1)
    logits = logits if logits.ndim == 3 else logits.reshape(rows.shape)
    return -ops.sum(ops.softplus(logits) - rows * logits, -1)


def divergence(mu, logvar):
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each row: (N)."""
    return -0.5 * ops.sum(1.0 + logvar - mu * mu - ops.exp(logvar), -1)


# -- of two layers -------------------------------------------------------------------------

@dataclass(frozen=True)
class VAEConfig(ModelConfig):
    """Sizes of an autoencoder of fully connected layers.

    Args:
        image_size, in_channels: of the images.
        hidden: width of the layer between image and latent.
        latent_size: Z.
    """

    image_size: int = 28
    in_channels: int = 1
    hidden: int = 400
    latent_size: int = 20

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 1, 12, 3)


class VAE(VariationalAutoencoder):
    """One hidden layer each way. Paper: appendix C."""

    config_class = VAEConfig
    layouts = {"pytorch-examples": ()}

    def __init__(self, config):
        c = self.config = config
        pixels = math.prod(self.shape(1))
        self.fc1 = nn.Linear(pixels, c.hidden)
        self.fc21 = nn.Linear(c.hidden, c.latent_size)
        self.fc22 = nn.Linear(c.hidden, c.latent_size)
        self.fc3 = nn.Linear(c.latent_size, c.hidden)
        self.fc4 = nn.Linear(c.hidden, pixels)

    def encode(self, image, labels=None):
        """image (N, C, H, W), or its pixels (N, P) -> mu (N, Z), logvar (N, Z)."""
        h = ops.relu(self.fc1(image.reshape(image.shape[0], -1)))
        return self.fc21(h), self.fc22(h)

    def decode(self, z, labels=None):
        """z (N, Z) -> logits (N, C, H, W)."""
        return self.fc4(ops.relu(self.fc3(z))).reshape(self.shape(z.shape[0]))


# -- of convolutions ------------------------------------------------------------------------

@dataclass(frozen=True)
class ConvVAEConfig(ModelConfig):
    """Sizes of a convolutional autoencoder.

    Args:
        image_size, in_channels: of the images; the size is a multiple of 2 ** depth.
        width: channels of the first convolution; they double with each.
        depth: convolutions that halve the resolution.
        latent_size: Z.
    """

    image_size: int = 28
    in_channels: int = 1
    width: int = 32
    depth: int = 2
    latent_size: int = 20

    def __post_init__(self):
        if self.depth < 1 or self.image_size % 2 ** self.depth:
            raise ArgumentError(message("ConvVAEConfig", "image_size, depth", "a multiple of 2 ** depth, from 1 on",
                                        (self.image_size, self.depth)))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 1, 4, 2, 3)


class ConvVAE(VariationalAutoencoder):
    """4x4 convolutions that halve, and transposed ones that double."""

    config_class = ConvVAEConfig

    def __init__(self, config):
        c = self.config = config
        widths = [c.in_channels, *(c.width << i for i in range(c.depth))]
        self.inner = widths[-1], c.image_size >> c.depth, c.image_size >> c.depth
        pixels = math.prod(self.inner)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in zip(widths, widths[1:]))
        self.mu, self.logvar = nn.Linear(pixels, c.latent_size), nn.Linear(pixels, c.latent_size)
        self.start = nn.Linear(c.latent_size, pixels)
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in zip(widths[::-1], widths[-2::-1]))

    def encode(self, image, labels=None):
        """image (N, C, H, W) -> mu (N, Z), logvar (N, Z)."""
        for conv in self.down:
            image = ops.relu(conv(image))
        h = image.reshape(image.shape[0], -1)
        return self.mu(h), self.logvar(h)

    def decode(self, z, labels=None):
        """z (N, Z) -> logits (N, C, H, W)."""
        x = self.start(z).reshape(z.shape[0], *self.inner)
        for conv in self.up:
            x = conv(ops.relu(x))
        return x


# -- of images and classes --------------------------------------------------------------------

@dataclass(frozen=True)
class M2Config(ModelConfig):
    """Sizes of a semi-supervised autoencoder.

    Args:
        image_size, in_channels: of the images.
        num_classes: K.
        hidden: width of the hidden layer of each network.
        latent_size: Z: what there is to say of an image besides its class.
    """

    image_size: int = 28
    in_channels: int = 1
    num_classes: int = 10
    hidden: int = 500
    latent_size: int = 50

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 1, 3, 12, 3)


class M2(VariationalAutoencoder):
    """Learns classes from few labels and many images without: a class and a latent make an image. Paper: section 2."""

    config_class = M2Config

    def __init__(self, config):
        c = self.config = config
        pixels = math.prod(self.shape(1))
        self.classifier = nn.Sequential(nn.Linear(pixels, c.hidden), nn.ReLU(), nn.Linear(c.hidden, c.num_classes))
        self.encoder = nn.Linear(pixels + c.num_classes, c.hidden)
        self.mu, self.logvar = nn.Linear(c.hidden, c.latent_size), nn.Linear(c.hidden, c.latent_size)
        self.decoder = nn.Linear(c.latent_size + c.num_classes, c.hidden)
        self.pixels = nn.Linear(c.hidden, pixels)

    def classify(self, image):
        """image (N, C, H, W) -> logits (N, K)."""
        return self.classifier(image.reshape(image.shape[0], -1))

    def encode(self, image, labels):
        """image (N, C, H, W), labels (N) or shares of classes (*, N, K) -> mu (*, N, Z), logvar (*, N, Z)."""
        h = ops.relu(_told(self.encoder, image.reshape(image.shape[0], -1), self._shares(labels, image)))
        return self.mu(h), self.logvar(h)

    def decode(self, z, labels):
        """z (*, N, Z), labels (N) or shares of classes (*, N, K) -> logits (N, C, H, W), or (*, N, P)."""
        logits = self.pixels(ops.relu(_told(self.decoder, z, self._shares(labels, z))))
        return logits.reshape(self.shape(z.shape[0])) if z.ndim == 2 else logits

    def _shares(self, labels, like):
        if labels is None:
            raise ArgumentError(message("M2", "labels", f"classes in [0, {self.num_classes})", "none"))
        return labels if labels.ndim > 1 else ops.one_hot(labels, self.num_classes, dtype=like.dtype)

    def forward(self, image, noise=None):
        """image (N, C, H, W) -> Output of logits (N, K), and, of what they say, reconstruction, mu, logvar."""
        logits = self.classify(image)
        shares = ops.softmax(logits, -1)
        mu, logvar = self.encode(image, shares)
        rebuilt = ops.sigmoid(self.decode(self.latent(mu, logvar, noise), shares)).reshape(image.shape)
        return Output(logits=logits, reconstruction=rebuilt, mu=mu, logvar=logvar)

    def unlabelled_bound(self, image, beta=1.0):
        """The bound where the class is not known: over all classes, as the classifier weighs them (N). Eq. 7."""
        k = self.num_classes
        log_shares = ops.log_softmax(self.classify(image), -1).mT
        each = ops.one_hot(ops.arange(k, device=image.device), k, dtype=image.dtype).reshape(k, 1, k)
        mu, logvar = self.encode(image, each)
        logits = self.decode(self.latent(mu, logvar), each)
        bounds = log_bernoulli(image, logits) - divergence(mu, logvar) * beta - math.log(k)
        return ops.sum(ops.exp(log_shares) * (bounds - log_shares), 0)

    def loss(self, image, labels=None, beta=1.0, alpha=0.1):
        """The loss of a batch, of which some images have labels: (). Eq. 8 and 9, by image.

        Args:
            image (N, C, H, W): pixels in [0, 1].
            labels (N): -1 where the class is not known; None: nowhere.
            beta: as of `bound`.
            alpha: what the classifier's cross-entropy of an image with a label costs.
        """
        n = image.shape[0]
        known = [] if labels is None else [i for i, label in enumerate(labels.tolist()) if label >= 0]
        unknown = sorted(set(range(n)) - set(known))
        bounds, errors = [], 0.0
        if known:
            images, classes = image[known], labels[known]
            bounds.append(self.bound(images, classes, beta=beta) - math.log(self.num_classes))
            errors = ops.cross_entropy(self.classify(images), classes) * alpha
        if unknown:
            bounds.append(self.unlabelled_bound(image[unknown], beta))
        return errors - ops.sum(ops.concat(bounds, 0)) / float(n)

    def importance_bound(self, image, samples=5, noise=None):
        """Of images alone it is not defined here.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(message("importance_bound", "model", "an autoencoder without classes", "M2",
                                    "Take unlabelled_bound."))


def _told(layer, x, shares):
    """A linear layer of x (*, N, I) and shares (*, N, K), side by side; what one lacks of leading axes is broadcast."""
    inputs = x.shape[-1]
    return ops.linear(x, layer.weight[:, :inputs], layer.bias) + ops.linear(shares, layer.weight[:, inputs:])


PAPER = "Kingma, Welling 2013, arXiv:1312.6114"


@family(VAE, "image-generation", PAPER)("vae/pytorch_examples")
def vae():
    """28 by 28 grey pixels, 20 latent numbers."""
    return VAEConfig()


@family(ConvVAE, "image-generation", PAPER)()
def conv_vae():
    """28 by 28 grey pixels, 20 latent numbers."""
    return ConvVAEConfig()


@family(M2, "image-generation", "Kingma, Rezende, Mohamed, Welling 2014, arXiv:1406.5298")()
def m2_vae():
    """28 by 28 grey pixels, 10 classes, 50 latent numbers."""
    return M2Config()
