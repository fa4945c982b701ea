"""A variational autoencoder: no classifier, and its output is a dataclass."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

SIZE, LATENT = (48, 64), 6
MAPS, CODE = "encoder.5", "mean"


@dataclass
class Coded:
    """What it says of images: how it draws them anew, and the code in between."""

    drawn: torch.Tensor
    code: dict[str, torch.Tensor]


class Autoencoder(nn.Module):
    input_size = SIZE

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 10, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        cells = SIZE[0] // 4 * SIZE[1] // 4
        self.mean, self.log_variance = (nn.Linear(10 * cells, LATENT) for _ in range(2))
        self.decode = nn.Linear(LATENT, 8 * cells)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
        )

    def forward(self, x):
        maps = self.encoder(x).flatten(1)
        code = {"mean": self.mean(maps), "log_variance": self.log_variance(maps)}
        sample = code["mean"]
        if self.training:
            sample = sample + (code["log_variance"] / 2).exp() * torch.randn_like(sample)
        cells = self.decode(sample).unflatten(1, (8, SIZE[0] // 4, SIZE[1] // 4))
        return Coded(self.decoder(cells), code)


def make():
    """Untrained; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Autoencoder()


def trained(images, steps=60):
    """Trained on a batch of images for some seconds; also how the loss fell, first and last."""
    model = make().train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        for _ in range(steps):
            said = model(images)
            mean, log_variance = said.code["mean"], said.code["log_variance"]
            apart = (mean**2 + log_variance.exp() - 1 - log_variance).mean() / 2
            loss = F.mse_loss(said.drawn, images) + 1e-3 * apart
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    return model.eval(), losses
