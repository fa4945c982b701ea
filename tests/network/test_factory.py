import sys

import pytest
import torch

from explgraph.attribution import saliency
from explgraph.errors import NetworkError, UsageError
from explgraph.network import load_network, wrap

FACTORY = """
import torch
from torch import nn

def tiny():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    nn.init.ones_(model[0].weight)
    model.input_size, model.input_mean, model.input_std = (40, 60), (0.5, 0.5, 0.5), (1, 1, 1)
    model.classes = ["cat", "dog"]
    return model

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3))

def wrong():
    return 3

def broken():
    raise RuntimeError("no luck")
"""


def test_a_factory_in_the_current_directory_is_found_and_its_attributes_honoured(
    tmp_path, monkeypatch
):
    (tmp_path / "my_factories.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    network = load_network("my_factories:tiny")
    assert (network.spec, network.name, network.weights) == (
        "my_factories:tiny",
        "my_factories:tiny",
        None,
    )
    assert (network.input.size, network.input.mean, network.classes) == (
        (40, 60),
        (0.5, 0.5, 0.5),
        ("cat", "dog"),
    )
    assert (network.model[0].weight == 1).all()
    assert not (load_network("my_factories:tiny", weights="none").model[0].weight == 1).any()
    torch.save(network.model.state_dict(), "tiny.pth")
    assert load_network("my_factories:tiny", weights="tiny.pth").sha256 == network.sha256
    assert load_network("my_factories:plain").input.size == (224, 224)
    for name, kind, message in (
        ("wrong", NetworkError, "got int"),
        ("broken", NetworkError, "no luck"),
        ("tinny", UsageError, "tiny"),
    ):
        with pytest.raises(kind, match=message):
            load_network(f"my_factories:{name}")
    with pytest.raises(NetworkError, match="2 unexpected"):
        load_network("my_factories:plain", weights="tiny.pth")
    assert sys.path == path


AWKWARD = """
import sys
import torch
from torch import nn

def plain():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

def meta():
    return plain().to("meta")

def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())

def scripted():
    return torch.jit.script(plain())

def traced():
    return torch.jit.trace(plain().eval(), torch.zeros(1, 3, 48, 64))

def partly_scripted():
    return nn.Sequential(torch.jit.script(plain()[:2]), *plain()[2:])

def leaves():
    sys.exit(3)

def sparse():
    model = plain()
    model[6].weight = nn.Parameter(model[6].weight.detach().to_sparse())
    return model

def quantised():
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})

def no_size():
    model = plain()
    model.input_size = (0, 64)
    return model

def no_spread():
    model = plain()
    model.input_std = (1, 0, 1)
    return model

def counted():
    model = plain()
    model.classes = 4
    return model

class Odd(nn.Module):
    input_size = (48, 64)

    def __init__(self, forward):
        super().__init__()
        self.net, self.odd = plain(), forward

    def forward(self, x):
        return self.odd(self.net, x)

def grey():
    return nn.Sequential(nn.Conv2d(1, 8, 3))

def mixed():
    model = plain()
    model[0].half()
    return model

def exits():
    return Odd(lambda net, x: sys.exit(4))

def misses():
    return Odd(lambda net, x: {}["x"])

def eight_bits():
    return plain().to(torch.float8_e4m3fn)
"""


@pytest.fixture
def awkward(tmp_path, monkeypatch):
    (tmp_path / "awkward_factories.py").write_text(AWKWARD)
    (tmp_path / "leaving_program.py").write_text("import sys\nsys.exit()\n")
    monkeypatch.chdir(tmp_path)
    yield "awkward_factories"
    sys.modules.pop("awkward_factories", None)


@pytest.mark.parametrize("weights", [None, "none"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("meta", "'0.weight' has no values .*build the network on the CPU"),
        ("lazy", "'0.weight' has no shape yet .*run the network once"),
        ("scripted", "TorchScript .*give the module that it was made from"),
        ("traced", "TorchScript .*give the module that it was made from"),
        ("partly_scripted", "'0': TorchScript .*give the module that it was made from"),
        ("leaves", "leaves called sys.exit; name a function"),
        ("sparse", "'6.weight' is sparse .*to_dense"),
        ("quantised", "'6': quantised layers .*give the network before"),
        ("no_size", "input_size must be 1 to 32768"),
        ("no_spread", "input_std above 0"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_network_that_cannot_be_asked_is_refused_with_a_remedy(awkward, name, words, weights):
    with pytest.raises(NetworkError, match=words):
        load_network(f"{awkward}:{name}", weights=weights)


def test_a_program_that_ends_itself_is_no_factory(awkward):
    with pytest.raises(NetworkError, match=r"importing leaving_program called sys.exit; name a"):
        load_network("leaving_program:main")


def test_a_number_of_classes_is_no_list_of_names(awkward):
    assert load_network(f"{awkward}:counted").classes is None


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module_at_hand_is_refused_too():
    with pytest.raises(NetworkError, match="TorchScript"):
        wrap(torch.jit.script(torch.nn.ReLU()))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mixed", "Half"),
        ("exits", r"SystemExit\(4\)"),
        ("misses", r"KeyError\('x'\)"),
        ("eight_bits", "not implemented"),
    ],
)
def test_a_network_that_does_not_run_is_refused_before_images_are_read(awkward, name, words):
    network = load_network(f"{awkward}:{name}", input_size=(48, 64))
    with pytest.raises(
        NetworkError, match=f"does not run on an input of 48 x 64 pixels: .*{words}"
    ):
        network.top_first(["net.2" if name in ("exits", "misses") else "2"])
    with pytest.raises(NetworkError, match="does not run on an input of 48 x 64 pixels"):
        saliency(network, torch.zeros(1, 48, 64, 3, dtype=torch.uint8))


def test_a_network_of_grey_images_runs_on_grey_images(awkward):
    network = load_network(f"{awkward}:grey", input_size=(48, 64))
    assert network.top_first(["0"]) == ("0",)
    assert network.preprocess(torch.zeros(1, 48, 64, 3, dtype=torch.uint8)).shape[1] == 1


def test_random_weights_that_cannot_be_drawn_are_refused(awkward):
    with pytest.raises(NetworkError, match="random weights cannot be drawn for a Conv2d"):
        load_network(f"{awkward}:eight_bits", weights="none")


def test_a_module_itself_may_be_named_and_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "my_instance.py").write_text(FACTORY + "\nnet = tiny().train()\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    network = load_network("my_instance:net")
    assert (network.spec, network.input.size) == ("my_instance:net", (40, 60))
    assert network.classes == ("cat", "dog")
    assert (network.model[0].weight == 1).all()
    assert not (load_network("my_instance:net", weights="none").model[0].weight == 1).any()
    # The module in the file is neither retrained, frozen nor put into another mode.
    own = sys.modules["my_instance"].net
    assert own.training
    assert own[0].weight.requires_grad
    assert (own[0].weight == 1).all()
    with pytest.raises(UsageError, match="has no 'number'; expected a module or a function"):
        load_network("my_instance:number")
