"""The demo's network with the layers and the outputs of a ResNet for ImageNet."""

from torch import nn

from explgraph.demo.network import DemoNetwork, demo_network

N_CLASSES = 1000


class ResnetLike(nn.Module):
    """``layer3``, ``layer4`` and 1000 classes, of which the first eight are the demo's."""

    input_size = DemoNetwork.input_size
    input_mean, input_std = DemoNetwork.input_mean, DemoNetwork.input_std

    def __init__(self):
        super().__init__()
        demo = demo_network()
        self.layer3, self.layer4 = demo.features[:13], demo.features[13:]
        self.pool, self.fc = demo.pool, demo.classifier
        self.eval()

    def forward(self, images):
        scores = self.fc(self.pool(self.layer4(self.layer3(images))).flatten(1))
        return nn.functional.pad(scores, (0, N_CLASSES - scores.shape[1]))


def make():
    """The factory that a job names."""
    return ResnetLike()
