"""Networks that make images, and those that judge them."""
import re
from copy import deepcopy

from ... import Tensor, ops
from ...models.generative.cyclegan import ResNetGenerator, ResNetGeneratorConfig
from ...models.generative.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from ...models.generative.patchgan import PatchGAN, PatchGANConfig
from ...models.generative.pix2pix import UNetGenerator, UNetGeneratorConfig
from ...models.generative.stylegan2 import StyleGAN2Config, StyleGAN2Generator
from ...models.generative.stylegan2_discriminator import StyleGAN2Discriminator, StyleGAN2DiscriminatorConfig
from ...models.generative.vae import VAE, VAEConfig, divergence, log_bernoulli
from . import Run, runs
from .classification import loaded


@runs("dcgan_g")
def dcgan_generator(case):
    """pytorch/examples' Generator."""
    c = case.config
    model = loaded(DCGANGenerator(DCGANConfig(64, c["nc"], c["nz"], c["ngf"])), case)
    return Run({"img": model(Tensor(next(iter(case.inputs.values()))))}, model=model)


@runs("dcgan_d")
def dcgan_discriminator(case):
    """pytorch/examples' Discriminator."""
    model = loaded(DCGANDiscriminator(DCGANConfig(64, case.config["nc"], width=case.config["ndf"])), case)
    scores = model(Tensor(next(iter(case.inputs.values()))))
    return Run({"logit": scores, "p": ops.sigmoid(scores)}, model=model)


@runs("pix2pix_g")
def unet(case):
    """pytorch-CycleGAN-and-pix2pix's UnetGenerator."""
    c, x = case.config, Tensor(next(iter(case.inputs.values())))
    outputs = case.meta["outputs"]["y_eval"]["shape"][1]
    config = UNetGeneratorConfig(x.shape[1], outputs, c["ngf"], c["num_downs"], c.get("norm", "batch"), dropout=0.0)
    model = loaded(UNetGenerator(config), case)
    by_batch = deepcopy(model).train()(ops.concat([x, x[..., ::-1]], 0))       # (a copy: running statistics move)
    return Run({"y_eval": model(x), "y_bn_batchstats": by_batch}, model=model)


@runs("cyclegan_g")
def resnet(case):
    """pytorch-CycleGAN-and-pix2pix's ResnetGenerator."""
    c, x = case.config, Tensor(next(iter(case.inputs.values())))
    config = ResNetGeneratorConfig(x.shape[1], case.meta["outputs"]["y"]["shape"][1], c["ngf"], c["n_blocks"],
                                   c.get("norm", "instance"), c.get("padding", "reflect"))
    model = loaded(ResNetGenerator(config), case)
    return Run({"y": model(x)}, model=model)


@runs("pix2pix_d", "cyclegan_d")
def patchgan(case):
    """pytorch-CycleGAN-and-pix2pix's NLayerDiscriminator."""
    c, x = case.config, Tensor(next(iter(case.inputs.values())))
    config = PatchGANConfig(c.get("input_nc", x.shape[1]), c["ndf"], c.get("n_layers", 3), c["norm"])
    model = loaded(PatchGAN(config), case)
    return Run({"y": model(x)}, model=model)


@runs("vae_mlp")
def vae(case):
    """pytorch/examples' VAE."""
    pixels, hidden, latent = case.config["dims"]
    model = loaded(VAE(VAEConfig(1, pixels, hidden, latent)), case)
    x = Tensor(case.inputs["x"])
    found = model(x, Tensor(case.inputs["eps"]))
    logits = model.decode(model.latent(found.mu, found.logvar, Tensor(case.inputs["eps"])))
    loss = ops.sum(divergence(found.mu, found.logvar) - log_bernoulli(x, logits))
    return Run({"recon": found.reconstruction, "mu": found.mu, "logvar": found.logvar, "elbo_loss": loss}, model=model)


def shared(config, own):
    """stylegan2-ada-pytorch's arguments that both networks have, from `own`, as the first of ours."""
    return (config["img_resolution"], config["img_channels"], config.get("c_dim", 0), own.get("channel_base", 32768),
            own.get("channel_max", 512))


@runs("stylegan2_ada_g")
def stylegan2_generator(case):
    """stylegan2-ada-pytorch's Generator."""
    c, s = case.config, case.config.get("synthesis_kwargs", {})
    config = StyleGAN2Config(*shared(c, s), s.get("architecture", "skip"), s.get("conv_clamp"), c["z_dim"], c["w_dim"],
                             c.get("mapping_kwargs", {}).get("num_layers", 8))
    model = loaded(StyleGAN2Generator(config), case)
    given = [Tensor(case.inputs[name]) if name in case.inputs else None for name in ("z", "c")]
    given = given if config.num_classes else given[:1]
    found = {"w": model.mapping(*given), "img_const": model(*given, noise="const")}
    for name in case.meta["outputs"]:
        if told := re.fullmatch(r"img_(const|none)_psi([\d.]+)", name):
            found[name] = model(*given, truncation=float(told[2]), noise=told[1])
    return Run(found, model=model)


@runs("stylegan2_rosinality_g")
def rosinality_generator(case):
    """rosinality/stylegan2-pytorch's Generator."""
    c = case.config
    config = StyleGAN2Config(c["size"], channel_base=16384 * c.get("channel_multiplier", 2),
                             channel_max=c.get("tiny_channels", 512), latent_size=c["style_dim"],
                             style_size=c["style_dim"], mapping_layers=c["n_mlp"])
    model, z = loaded(StyleGAN2Generator(config), case), Tensor(case.inputs["z"])
    return Run({"w": model.mapping(z), "img": model(z, noise="const")}, model=model, layout="rosinality")


@runs("stylegan2_ada_d")
def stylegan2_discriminator(case):
    """stylegan2-ada-pytorch's Discriminator."""
    c, last = case.config, case.config.get("epilogue_kwargs", {})
    config = StyleGAN2DiscriminatorConfig(
        *shared(c, c), c.get("architecture", "resnet"), c.get("conv_clamp"), last.get("mbstd_group_size", 4),
        c.get("mapping_kwargs", {}).get("num_layers", 8))
    model = loaded(StyleGAN2Discriminator(config), case)
    given = [Tensor(case.inputs[name]) if name in case.inputs else None for name in ("img", "c")]
    return Run({"score": model(*given)}, model=model)
