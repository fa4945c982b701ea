"""A network as a chain of steps that can be run from the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.immutable_collections import immutable_dict, immutable_list

from explgraph.network.layout import PLAIN, VECTOR, has_plain_maps, has_vectors
from explgraph.network.network import Network

OnModule = Callable[[str, Any], None]


@dataclass(frozen=True)
class Link:
    """A cut: behind a module that runs once and yields all that later steps need.

    Args:
        position: number of the step that the module is.
        name: dotted torch name.
    """

    position: int
    name: str


class Chain:
    """The steps of a network's forward pass, in order; `trace_chain` makes it.

    >>> chain = trace_chain(network)
    >>> chain.run(x.clone(), upto=chain.link("features.14")).shape
    torch.Size([2, 96, 14, 14])
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, constants: dict[str, Any]) -> None:
        self._model = model
        self._constants = constants  # tensors that the forward pass makes itself
        self._steps: list[fx.Node] = list(graph.nodes)
        number = {node: k for k, node in enumerate(self._steps)}
        self._last_use = {
            node: max((number[user] for user in node.users), default=0) for node in self._steps
        }
        self.links = tuple(self._find_links())

    def link(self, name: str) -> Link | None:
        """The cut behind the module called ``name``, None if there is none."""
        modules = dict(self._model.named_modules(remove_duplicate=False))
        if not name or name not in modules:
            return None
        # Of a block the chain has only the modules inside, and a module may have two names.
        module = last_module(modules[name])
        same = (link for link in self.links if modules[link.name] is module)
        return next(same, None)

    def run(
        self,
        value: Any,
        *,
        after: Link | None = None,
        upto: Link | None = None,
        on_module: OnModule | None = None,
    ) -> Any:
        """What comes out at ``upto`` when ``value`` comes out at ``after``.

        An in-place layer may overwrite ``value``.

        Args:
            value: the network's input, or a map.
            after: where it comes out; None = it is the network's input.
            upto: where to stop; None = at the network's end.
            on_module: called with the name and the output of every module of the chain that ran.
        """
        first = 0 if after is None else after.position
        last = len(self._steps) - 1 if upto is None else upto.position
        values: dict[fx.Node, Any] = {self._steps[first]: value}
        for number in range(first + 1, last + 1):
            node = self._steps[number]
            values[node] = self._step(node, values, on_module)
            for used in node.all_input_nodes:
                if self._last_use[used] == number:
                    del values[used]  # early maps are the largest: none is held for the whole pass
        return values[self._steps[last]]

    def flops(self, value: Tensor) -> list[int]:
        """The operations of each step (convolutions, matrix products) on ``value``, the input."""
        from torch.utils.flop_counter import FlopCounterMode  # takes two seconds to import

        counts = [0]
        values: dict[fx.Node, Any] = {self._steps[0]: value}
        for node in self._steps[1:]:
            with FlopCounterMode(display=False) as counter:
                values[node] = self._step(node, values, None)
            counts.append(counter.get_total_flops())
        return counts

    def _step(self, node: fx.Node, values: dict[fx.Node, Any], on_module: OnModule | None) -> Any:
        args: Any = _plain(fx.node.map_arg(node.args, values.__getitem__))
        kwargs: Any = _plain(fx.node.map_arg(node.kwargs, values.__getitem__))
        name = str(node.target)
        if node.op == "output":
            return args[0]
        if node.op == "get_attr":
            own = name in self._constants
            return self._constants[name] if own else attrgetter(name)(self._model)
        if node.op == "call_method":
            return getattr(args[0], name)(*args[1:], **kwargs)
        if node.op == "call_function":
            assert callable(node.target)
            return node.target(*args, **kwargs)
        result = self._model.get_submodule(name)(*args, **kwargs)
        if on_module is not None:
            on_module(name, result)
        return result

    def _find_links(self) -> list[Link]:
        runs = Counter(str(node.target) for node in self._steps if node.op == "call_module")
        links, needed = [], 0
        for position, node in enumerate(self._steps):
            name = str(node.target)
            # All that came before must have been used up.
            if node.op == "call_module" and needed <= position and runs[name] == 1:
                links.append(Link(position, name))
            needed = max(needed, self._last_use[node])
        return links


def trace_chain(network: Network) -> Chain | None:
    """The network as a chain, None if its forward pass cannot be traced or takes more than images.

    Blocks (any module but a plain `torch.nn.Sequential`) are taken whole.

    >>> from explgraph.network import load_network
    >>> chain = trace_chain(load_network("squeezenet1_1", weights="none"))
    >>> chain.links[0].name
    'features.0'
    """
    own = set(vars(network.model))
    try:
        graph = _Shallow().trace(network.model)
    except Exception:  # foreign forward passes raise whatever they like on symbols
        return None
    finally:  # the tracer leaves the tensors that it met on the model
        constants = {name: vars(network.model).pop(name) for name in set(vars(network.model)) - own}
    _, *others = (node for node in graph.nodes if node.op == "placeholder")
    if any(node.users for node in others):  # optional arguments that bear on the result
        return None
    for node in others:
        graph.erase_node(node)
    return Chain(network.model, graph, constants)


class _Shallow(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).forward is not nn.Sequential.forward


def _plain(value: Any) -> Any:
    """Arguments with common lists and dicts for torch.fx's immutable ones.

    Some modules change the list that they are given.
    """
    if isinstance(value, immutable_dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, immutable_list):
        return [_plain(item) for item in value]
    return tuple(map(_plain, value)) if type(value) is tuple else value


def last_module(module: nn.Module) -> nn.Module:
    """The module whose output is that of ``module``: the last one in a plain Sequential.

    >>> last_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    ReLU()
    """
    while type(module).forward is nn.Sequential.forward and len(list(module.children())):
        module = list(module.children())[-1]
    return module


def rest_of(
    network: Network, layer: str, *, chain: Chain | None
) -> Callable[[Tensor, Tensor], Any]:
    """The function from maps at ``layer``, and their inputs, to the network's output.

    Where the chain can be cut behind the layer, only what follows it is run. Elsewhere the whole
    network is, on the inputs, with the layer's output replaced.

    Args:
        network: any.
        layer: dotted torch name.
        chain: of the network, from `trace_chain`.

    Raises:
        LayerError: when called: the layer is unknown, yields no maps, or is not reached.

    >>> chain = trace_chain(network)
    >>> maps = chain.run(x.clone(), upto=chain.link("features.14"))
    >>> rest_of(network, "features.14", chain=chain)(0 * maps, x).shape
    torch.Size([2, 8])
    """
    link = chain.link(layer) if chain is not None else None
    if chain is not None and link is not None and has_plain_maps(network.model, layer):
        layout = VECTOR if has_vectors(network.model, layer) else PLAIN
        # A copy, as the next layer may work in place and the maps are the caller's.
        return lambda maps, inputs: chain.run(layout.output(maps.clone(), maps), after=link)

    def whole(maps: Tensor, inputs: Tensor) -> Any:
        with network.watch([layer], lambda _, output: maps.clone()) as run:
            return run(inputs)

    return whole
