"""Shapes, sizes, starts and names of the models."""

from itertools import product

import pytest
import torch

from gvstudy import Run, build_model
from gvstudy.images import SCALES, to_grey, upscale
from gvstudy.models import CHANNELS, FANS, MODEL_SIZES, MODELS
from gvstudy.training import initial_model

PARAMETERS = {
    ("vdsr", "paper", "luma", 2): 664_704,
    ("vdsr", "paper", "rgb", 2): 667_008,
    ("vdsr", "paper", "rgb-to-grey", 2): 665_856,
    ("vdsr", "reduced", "rgb", 2): 57_024,
    ("edsr", "paper", "rgb", 2): 1_369_859,
    ("edsr", "paper", "rgb", 3): 1_554_499,
    ("edsr", "paper", "rgb", 4): 1_517_571,
    ("edsr", "reduced", "rgb", 2): 121_987,
    ("espcn", "paper", "luma", 3): 22_729,
    ("espcn", "paper", "rgb", 2): 26_796,
    ("espcn", "paper", "rgb", 3): 31_131,
    ("espcn", "paper", "rgb", 4): 37_200,
    ("espcn", "reduced", "rgb", 2): 8_796,
    ("bicubic", "paper", "rgb", 2): 0,
}


@pytest.mark.parametrize(("key", "count"), PARAMETERS.items())
def test_parameter_counts(key, count):
    name, size, channels, scale = key
    model = build_model(name, scale, size=size, channels=channels)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", ["bicubic", "vdsr", "edsr", "espcn"])
@pytest.mark.parametrize(("scale", "size"), list(product(SCALES, MODEL_SIZES)))
def test_shapes(name, scale, size):
    for channels in CHANNELS:
        if channels not in MODELS[name].channels:
            continue
        model = build_model(name, scale, size=size, channels=channels)
        assert model(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_bicubic_is_upscale(kernel):
    lr = torch.rand(1, 3, 6, 5)
    assert torch.equal(build_model("bicubic", 3, upsample=kernel)(lr), upscale(lr, 3, kernel))


@pytest.mark.parametrize(
    ("name", "channels"), [("vdsr", "rgb-to-grey"), ("vdsr", "luma"), ("edsr", "luma")]
)
def test_one_output_corrects_all_channels_alike(name, channels):
    lr = torch.rand(1, 3, 8, 8)
    correction = build_model(name, 2, size="reduced", channels=channels)(lr) - upscale(lr, 2)
    torch.testing.assert_close(correction[:, 0], correction[:, 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(correction[:, 0], correction[:, 2], rtol=1e-4, atol=1e-5)


def test_luma_models_look_at_brightness_only():
    model = build_model("espcn", 2, size="reduced", channels="luma")
    lr = torch.rand(1, 3, 8, 8)
    grey = to_grey(lr).expand(-1, 3, -1, -1) / sum((0.2989, 0.5870, 0.1140))
    ours, plain = (model(x) - upscale(x, 2) for x in (lr, grey))
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_edsr_sees_a_centred_input():
    model = build_model("edsr", 2, size="reduced")
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
    torch.testing.assert_close(model.mean, mean)
    assert "mean" not in model.state_dict()


def test_the_seed_decides_the_start_and_the_loss_does_not():
    def weights(**changes):
        return torch.cat([p.flatten() for p in initial_model(Run(**changes)).parameters()])

    state = torch.get_rng_state()
    assert torch.equal(weights(), weights(loss="ssim+gv"))
    assert not torch.equal(weights(), weights(seed=1))
    assert torch.equal(state, torch.get_rng_state())


def test_vdsr_starts_after_he():
    model = build_model("vdsr", 2)
    spread = model.body[2].weight.std().item()
    assert spread == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("srcnn", 2), "unknown model 'srcnn'; known: bicubic, vdsr, edsr, espcn"),
        (("vdsr", 5), "unknown scale 5; known: 2, 3, 4"),
        (("vdsr", 2, "large"), "unknown size 'large'; known: paper, reduced"),
        (("vdsr", 2, "paper", "cmyk"), "unknown channels 'cmyk'"),
        (("vdsr", 2, "paper", "rgb", "nearest"), "unknown upsample 'nearest'"),
        (("edsr", 2, "paper", "rgb-to-grey"), "channels of edsr 'rgb-to-grey'; known: rgb, luma"),
    ],
)
def test_unknown_names_list_the_known(arguments, message):
    options = dict(zip(("size", "channels", "upsample"), arguments[2:], strict=False))
    with pytest.raises(ValueError, match=message):
        build_model(*arguments[:2], **options)


@pytest.mark.parametrize("fan", FANS)
def test_the_initial_weights_of_vdsr_have_the_variance_that_their_fan_says(fan):
    torch.manual_seed(0)
    model = build_model("vdsr", 2, channels="rgb-to-grey", fan=fan)
    for layer in model.body:
        if isinstance(layer, torch.nn.Conv2d):
            n = 9 * (layer.in_channels if fan == "fan_in" else layer.out_channels)
            assert float(layer.weight.detach().std()) == pytest.approx((2 / n) ** 0.5, rel=0.1)


def test_the_fan_is_vdsr_s_alone_and_part_of_a_run():
    with pytest.raises(ValueError, match="unknown model with fan_out 'edsr'; known: vdsr"):
        build_model("edsr", 2, fan="fan_out")
    with pytest.raises(ValueError, match="unknown fan 'out'; known: fan_in, fan_out"):
        Run(fan="out")
    assert "fan" not in Run().description()
    assert Run(fan="fan_out").description()["fan"] == "fan_out"


@pytest.mark.parametrize("scale", SCALES)
def test_only_espcn_s_last_layer_starts_without_the_gain_of_tanh(scale):
    """Reduced, on luma and at x4 its second layer has as many outputs as the last: sixteen."""
    torch.manual_seed(0)
    body = build_model("espcn", scale, size="reduced", channels="luma").model.body
    layers = [layer for layer in body if isinstance(layer, torch.nn.Conv2d)]
    for layer, gain in zip(layers, (5 / 3, 5 / 3, 1), strict=True):
        fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
        expected = gain * (2 / fans) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.15)
