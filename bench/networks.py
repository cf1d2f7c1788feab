"""Five networks, written once for every library: each function takes `lib.nn` and gives a module.

What stands in their forwards are modules, operators and methods that all libraries have; `F` is minidl.ops or
torch.nn.functional.
"""


def resnet18(nn, classes=10):
    """He et al. 2015, arXiv:1512.03385, for 32 x 32 images: the stem is a 3 x 3 convolution, and nothing is pooled."""
    def conv(inputs, outputs, kernel, stride=1):
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                             nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.relu, self.conv1, self.conv2 = nn.ReLU(), conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)
            self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1, stride)

        def forward(self, x):
            return self.relu(self.conv2(self.relu(self.conv1(x))) + self.shortcut(x))

    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1),
              (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    return nn.Sequential(conv(3, 64, 3), nn.ReLU(), *[Block(*w) for w in widths],
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def gpt(nn, F, layers=6, width=384, heads=6, words=65, length=256):
    """Radford et al. 2019, "Language Models are Unsupervised Multitask Learners": pre-norm decoder of characters."""
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

        def attend(self, x):
            n, t, _ = x.shape
            q, k, v = [part.reshape((n, t, heads, width // heads)).swapaxes(1, 2) for part in self.qkv(x).chunk(3, -1)]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.swapaxes(1, 2).reshape((n, t, width)))

        def forward(self, x):
            x = x + self.attend(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)], nn.LayerNorm(width))
            self.head = nn.Linear(width, words, bias=False)

        def forward(self, tokens, positions):
            logits = self.head(self.blocks(self.tokens(tokens) + self.positions(positions)))
            return logits.reshape((-1, words))
    return GPT()


def char_lstm(nn, words=65, width=128, hidden=512):
    """Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks": characters to characters."""
    class CharLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(words, width), nn.LSTM(width, hidden, batch_first=True)
            self.head = nn.Linear(hidden, words)

        def forward(self, tokens):
            return self.head(self.lstm(self.embedding(tokens))[0]).reshape((-1, words))
    return CharLSTM()


def unet(nn, concat, classes=2, widths=(64, 128, 256, 512, 1024)):
    """Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, with padding and batch norm."""
    def twice(inputs, outputs):
        return nn.Sequential(*[layer for c in (inputs, outputs) for layer in (
            nn.Conv2d(c, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())])

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = list(zip(widths, widths[1:]))
            self.first, self.pool = twice(3, widths[0]), nn.MaxPool2d(2)
            self.downs = nn.ModuleList([twice(a, b) for a, b in pairs])
            self.ups = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs[::-1]])
            self.twices = nn.ModuleList([twice(b, a) for a, b in pairs[::-1]])
            self.head = nn.Conv2d(widths[0], classes, 1)

        def forward(self, x):
            skips = [self.first(x)]
            for down in self.downs:
                skips.append(down(self.pool(skips[-1])))
            x = skips.pop()
            for up, both in zip(self.ups, self.twices):
                x = both(concat([skips.pop(), up(x)], 1))
            return self.head(x)
    return UNet()


def dcgan(nn, noise=100, widths=(512, 256, 128, 64), channels=3):
    """Radford, Metz, Chintala 2015, arXiv:1511.06434, for 64 x 64 images: a generator and a discriminator."""
    pairs = list(zip(widths, widths[1:]))
    up = [layer for a, b in pairs for layer in (
        nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())]
    down = [layer for a, b in pairs[::-1] for layer in (
        nn.Conv2d(b, a, 4, 2, 1, bias=False), nn.BatchNorm2d(a), nn.LeakyReLU(0.2))]

    class DCGAN(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = nn.Sequential(
                nn.ConvTranspose2d(noise, widths[0], 4, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(), *up,
                nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh())
            self.discriminator = nn.Sequential(
                nn.Conv2d(channels, widths[-1], 4, 2, 1, bias=False), nn.LeakyReLU(0.2), *down,
                nn.Conv2d(widths[0], 1, 4, bias=False), nn.Flatten())
    return DCGAN()
