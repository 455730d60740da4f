"""The networks are the published ones: by their number of parameters, their shapes, and by training."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch

from recompviz import networks

torch.set_num_threads(1)

# Published: torchvision's model pages (ResNet, VGG, DenseNet, ViT), Caffe's GoogLeNet with both auxiliary classifiers,
# the papers' or original checkpoints' for the others. PSPNet and LSTM: counted by hand from the papers' tables.
PARAMETERS = {
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg19": 143_667_240,
    "unet": 31_030_658,
    "densenet161": 28_681_000,
    "googlenet": 13_378_280,
    "vit": 86_567_656,
    "gpt2": 124_439_808,
    "gpt2_xl": 1_557_611_200,
    "llama_7b": 6_738_415_616,
    "llama_70b": 68_976_648_192,
    "lstm_lm": 10_000 * 650 + 2 * (4 * 650 * (650 + 650) + 2 * 4 * 650) + 650 * 10_000 + 10_000,
    "unet_diffusion": 35_746_307,
}

# The shape of the first output of every full-size example at batch 2.
OUTPUTS = {
    "pspnet": (2, 17, 713, 713),
    "unet": (2, 2, 388, 388),
    "resnet50": (2, 1000),
    "resnet152": (2, 1000),
    "vgg19": (2, 1000),
    "densenet161": (2, 1000),
    "googlenet": (2, 1000),
    "vit": (2, 1000),
    "gpt2": (2, 1024, 50257),
    "gpt2_xl": (2, 1024, 50257),
    "llama_7b": (2, 4096, 32000),
    "llama_70b": (2, 4096, 32000),
    "lstm_lm": (2, 35, 10000),
    "unet_diffusion": (2, 3, 32, 32),
}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_full_size_has_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        assert parameters(getattr(networks, name)()) == count


def test_pspnet_is_a_deep_stem_resnet101_with_pyramid_and_two_heads():
    def conv_bn(channels, out, kernel):
        return channels * out * kernel**2 + 2 * out

    with torch.device("meta"):
        backbone = parameters(networks.resnet101()) - (2048 * 1000 + 1000)
        model = networks.pspnet()
    backbone -= conv_bn(3, 64, 7)
    backbone += conv_bn(3, 64, 3) + conv_bn(64, 64, 3) + conv_bn(64, 128, 3)
    backbone += 64 * (64 + 256)  # the stem ends with 128 channels, not 64: conv1 and projection of the first block
    pyramid = 4 * conv_bn(2048, 512, 1)
    head = conv_bn(4096, 512, 3) + 512 * 17 + 17
    auxiliary = conv_bn(1024, 256, 3) + 256 * 17 + 17
    assert parameters(model) == backbone + pyramid + head + auxiliary


@pytest.mark.parametrize("name", networks.NAMES)
def test_full_size_example_runs_on_the_meta_device(name):
    step = networks.example(name, batch=2, device="meta")
    output = step.model(*step.inputs)
    first = output[0] if isinstance(output, tuple) else output
    assert tuple(first.shape) == OUTPUTS[name]
    loss = step.loss(output, *step.targets)
    assert loss.shape == ()
    assert loss.device.type == "meta"


@pytest.mark.parametrize("name", networks.NAMES)
def test_small_example_has_a_finite_loss_and_a_gradient_for_every_parameter(name):
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    loss = step.loss(step.model(*step.inputs), *step.targets)
    loss.backward()
    assert torch.isfinite(loss)
    missing = [key for key, parameter in step.model.named_parameters() if parameter.grad is None]
    assert missing == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in step.model.parameters())


@pytest.mark.parametrize("name", networks.NAMES)
def test_losses_are_plain_functions_that_capture_nothing(name):
    loss = networks.example(name, small=True, device="meta").loss
    assert inspect.isfunction(loss)
    assert inspect.getclosurevars(loss).nonlocals == {}


def test_paper_examples_have_the_papers_batch_and_input():
    expected = {
        "pspnet": (2, 3, 713, 713),
        "unet": (8, 1, 572, 572),
        "resnet50": (96, 3, 224, 224),
        "resnet152": (48, 3, 224, 224),
        "vgg19": (64, 3, 224, 224),
        "densenet161": (32, 3, 224, 224),
        "googlenet": (256, 3, 224, 224),
    }
    assert tuple(expected) == networks.PAPER
    for name, shape in expected.items():
        assert tuple(networks.example(name, device="meta").inputs[0].shape) == shape


def test_an_unknown_example_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match="'alexnet'"):
        networks.example("alexnet")


@pytest.mark.parametrize("build", [lambda: networks.googlenet(image_size=64), lambda: networks.vgg(image_size=16)])
def test_an_image_too_small_is_refused_with_the_least_size(build):
    with pytest.raises(ValueError, match="is below"):
        build()


def test_googlenet_weighs_the_auxiliary_losses_by_03():
    torch.manual_seed(0)
    labels = torch.tensor([1, 2])
    main, first, second = (torch.randn(2, 10) for _ in range(3))
    each = [networks.classification(logits, labels) for logits in (main, first, second)]
    torch.testing.assert_close(
        networks.googlenet_loss((main, first, second), labels), each[0] + 0.3 * each[1] + 0.3 * each[2]
    )


def test_pspnet_weighs_the_auxiliary_loss_by_04():
    torch.manual_seed(0)
    labels = torch.randint(5, (2, 3, 3))
    main, auxiliary = (torch.randn(2, 5, 3, 3) for _ in range(2))
    expected = networks.classification(main, labels) + 0.4 * networks.classification(auxiliary, labels)
    torch.testing.assert_close(networks.pspnet_loss((main, auxiliary), labels), expected)


@pytest.mark.parametrize("name", ["googlenet", "pspnet"])
def test_auxiliary_classifiers_work_in_training_only(name):
    step = networks.example(name, small=True)
    assert isinstance(step.model(*step.inputs), tuple)
    output = step.model.eval()(*step.inputs)
    assert isinstance(output, torch.Tensor)
    assert torch.isfinite(step.loss(output, *step.targets))


def test_gpt2_has_one_parameter_for_embedding_and_output_layer():
    model = networks.example("gpt2", small=True).model
    assert model.lm_head.weight is model.wte.weight


@pytest.mark.parametrize("name", ["gpt2", "llama_7b", "llama_70b", "lstm_lm"])
def test_language_models_do_not_see_the_future(name):
    torch.manual_seed(0)
    step = networks.example(name, small=True)
    (tokens,) = step.inputs
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    model = step.model.eval()
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :-1], after[:, :-1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_llama_attends_by_relative_position_only():
    """Rotary scores depend on the distance of query and key, not on where they stand (RoFormer, equation 16)."""
    from recompviz.networks._llama import rotary, rotate

    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8)
    cos, sin = rotary(12, 8)
    turned = [rotate(x.expand(1, 1, 12, 8), cos, sin)[0, 0] for x in (query, key)]
    scores = turned[0] @ turned[1].T
    for distance in range(-6, 7):
        diagonal = torch.diagonal(scores, distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))


def test_unet_hands_the_centre_of_its_features_across():
    from recompviz.networks._unet import crop

    x = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(crop(x, torch.zeros(1, 1, 2, 2)), torch.tensor([[[[14.0, 15.0], [20.0, 21.0]]]]))


def test_the_original_resnet_strides_in_the_first_convolution_of_a_block():
    sizes = {}
    for original in (False, True):
        block = networks.resnet((1, 1, 1, 1), width=4, original=original).layer2[0]
        narrow = block.conv1(torch.zeros(1, 16, 8, 8))
        sizes[original] = narrow.shape[-1], block(torch.zeros(2, 16, 8, 8)).shape[-1]
    assert sizes == {False: (8, 4), True: (4, 4)}


def test_parameter_names_are_torchvisions():
    with torch.device("meta"):
        names = {name: set(getattr(networks, name)().state_dict()) for name in ("resnet50", "vgg19", "densenet161")}
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.running_var", "fc.bias"} <= names["resnet50"]
    assert {"features.0.weight", "features.34.bias", "classifier.6.weight"} <= names["vgg19"]
    assert {
        "features.conv0.weight",
        "features.denseblock4.denselayer24.conv2.weight",
        "features.transition3.norm.weight",
        "features.norm5.bias",
        "classifier.weight",
    } <= names["densenet161"]


def test_importing_the_package_does_not_import_torch():
    code = "import sys, recompviz.networks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_exported_name_can_be_used():
    assert dir(networks) == sorted(networks.__all__)
    for name in networks.__all__:
        assert getattr(networks, name) is not None
    assert not hasattr(networks, "alexnet")
