"""A network that answers a question about an image, with a mask of what may be looked at."""

import torch
from torch import nn

from explgraph import wrap

SIZE, WORDS, ANSWERS = (48, 64), 9, ("no", "yes", "two")
QUESTION = torch.tensor([[4, 2, 7, 1]])


class Answering(nn.Module):
    """Attention over the maps that the question steers; nothing of it is the CNN's."""

    input_size = SIZE

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.embed, self.lstm = nn.Embedding(WORDS, 5), nn.LSTM(5, 8, batch_first=True)
        self.answer = nn.Linear(8, len(ANSWERS))

    def forward(self, images, question, mask=None, *, sharpness=1.0):
        asked = self.lstm(self.embed(question))[0][:, -1]
        maps = self.cnn(images)
        weights = (maps * asked[:, :, None, None]).sum(1, keepdim=True) * sharpness
        if mask is not None:
            weights = weights + mask
        weights = weights.flatten(2).softmax(2).unflatten(2, maps.shape[2:])
        return self.answer((maps * weights).sum((2, 3)) * asked)


class QuestionFirst(Answering):
    def forward(self, question, images):
        return super().forward(images, question)


def answering(kind=Answering):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = kind()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 2
    return model


def make():
    """The factory that `--model builders.questions:make` names: the question is bound."""
    return wrap(answering(), bind={"question": QUESTION}, class_names=ANSWERS)
