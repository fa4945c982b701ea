"""A CNN with an LSTM behind it that says a sentence, and parts of it to be run by hand."""

import torch
from torch import nn

WORDS = 11


class Captioner(nn.Module):
    """Scores (image, step, word) of each next word of a sentence."""

    def __init__(self, *, attention=False):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
        )
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True) if attention else None
        self.project = nn.Sequential(nn.Linear(8, 7), nn.ReLU())
        self.embed = nn.Embedding(WORDS, 7)
        self.lstm = nn.LSTM(7, 9, num_layers=2, batch_first=True)
        self.said = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, WORDS))

    def forward(self, images, words=None):
        if words is None:
            words = torch.tensor([[3, 1, 4, 1, 5]], device=images.device)
        return self.say(self.project(self.look(self.cnn(images))), words)

    def look(self, maps):
        """One vector of the maps: their mean, or what attention makes of them."""
        if self.attention is None:
            return maps.mean((2, 3))
        places = maps.flatten(2).transpose(1, 2)
        query = places.mean(1, keepdim=True)
        return self.attention(query, places, places)[0][:, 0]

    def say(self, vector, words):
        """The scores of each next word, from what was seen and the words before."""
        words = self.embed(words.expand(len(vector), -1))
        return self.said(self.lstm(torch.cat([vector[:, None], words], 1))[0])


def captioner(**options):
    """The same weights at each call, large enough that the gates open and close."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = Captioner(**options).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 2
    return model


def down(cnn, images, signal, rule):
    """From the maps to the pixels, layer by layer; ``rule`` says what passes a ReLU."""
    outputs = [images]
    for module in cnn:
        outputs.append(module(outputs[-1].clone()))
    for module, output in reversed(list(zip(cnn, outputs, strict=False))):
        output = output.detach().requires_grad_()
        if isinstance(module, nn.ReLU):
            signal = signal.relu() * (1 if rule == "deconv" else output > 0)
        else:
            signal = torch.autograd.grad(module(output), output, signal)[0]
    return signal.detach()
