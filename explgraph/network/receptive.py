"""Which input coordinates a cell depends on: the network runs on coordinates instead of values.

A `Dependence` holds, in place of every activation, the largest coordinate among the input pixels
that it depends on (``-inf``: none; ``inf``: perhaps all). Every operation then is a maximum over
what it reads: a convolution over its window and all channels, a residual sum over both branches, a
concatenation over its parts. One forward pass of the unchanged network thus gives the exact
receptive field of every cell of every layer, whatever paddings, ceil modes and dilations lie on the
way. The weights never matter.

Three notions are taken as one takes them for receptive fields: normalisation is pointwise, a
squeeze-and-excitation gate (one value per image and channel) does not widen the field, and channels
are not told apart. An operation unknown to the tables below is taken to read everything, which is
safe: the field can only come out too large, as ``inf``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from explgraph.errors import LayerError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of torch functions without their underscores: "relu" is relu and relu_, "iadd" is __iadd__.
_INPLACE = _names("iadd isub imul idiv itruediv")
# Pointwise in their first argument; the others are parameters.
_POINTWISE = _names(
    """relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh
    sigmoid logsigmoid tanh softplus softsign threshold hardshrink softshrink tanhshrink abs neg exp
    log sqrt rsqrt square pow clamp clip clamp_min clamp_max batch_norm group_norm layer_norm
    instance_norm rms_norm local_response_norm normalize dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_dropout feature_alpha_dropout contiguous clone detach to float double half
    type"""
)
_SUM = _names(
    """add radd iadd sub rsub isub subtract maximum minimum where lerp addcmul addcdiv
    masked_fill"""
)
_PRODUCT = _names("mul rmul imul multiply div idiv divide truediv rtruediv itruediv true_divide")
_MOVING = _names(
    """reshape flatten unflatten unsqueeze squeeze permute transpose swapaxes swapdims movedim
    moveaxis expand expand_as repeat chunk split unbind tensor_split narrow select getitem roll flip
    stack pixel_shuffle pixel_unshuffle channel_shuffle get requires_grad as_subclass"""
)
_CONSTANT = _names(
    """zeros_like ones_like full_like rand_like randn_like empty_like new_zeros new_ones new_full
    new_empty"""
)


class Dependence(Tensor):
    """A tensor of coordinates that each element depends on; see the module's text."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What the elements of ``func(*args, **kwargs)`` depend on."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        inplace = name.endswith("_") and not name.endswith("__")
        name = name.strip("_")
        if name == "setitem":
            raise LayerError(
                "receptive fields cannot be followed through an assignment to a part of a tensor; "
                "name a layer before it"
            )
        with torch._C.DisableTorchFunctionSubclass():
            if name in _CONSTANT:
                return func(*args, **kwargs)  # a plain tensor, which depends on nothing
            result = _follow(name, func, args, kwargs)
            if (inplace or name in _INPLACE) and isinstance(result, Tensor):
                args[0].data = result  # the network holds on to the tensor that it changed
                return args[0]
            return _of_floats(result, lambda x: x.as_subclass(Dependence))


def coordinates(
    size: tuple[int, int], axis: int, *, channels: int = 3, device: torch.device | None = None
) -> Float[Dependence, "2 channel height width"]:
    """The input whose elements are their own row (axis 0) or column (axis 1) index.

    The second plane is negated, so that the running maximum of it gives minus the smallest
    coordinate.

    >>> coordinates((4, 5), axis=1)[:, 0, 0].tolist()
    [[0.0, 1.0, 2.0, 3.0, 4.0], [-0.0, -1.0, -2.0, -3.0, -4.0]]
    """
    index = torch.arange(size[axis], dtype=torch.float32, device=device)
    index = torch.stack([index, -index]).reshape(2, 1, *((-1, 1) if axis == 0 else (1, -1)))
    return index.expand(2, channels, *size).as_subclass(Dependence)


def _follow(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if name in _WINDOWS:
        return _WINDOWS[name](*args, **kwargs)
    if name in _POINTWISE:
        return args[0] if args else kwargs["input"]
    if name in _SUM or name in _PRODUCT:
        return _combined([*args, *kwargs.values()], gated=name in _PRODUCT)
    # What only moves values may move coordinates. All else is taken to read everything.
    result = func(*args, **kwargs)
    return result if name in _MOVING else _of_floats(result, _everything)


def _of_floats(result: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``result`` with its floating-point tensors changed."""
    if isinstance(result, tuple | list) and any(isinstance(item, Tensor) for item in result):
        return [_of_floats(item, change) for item in result]
    return change(result) if isinstance(result, Tensor) and result.is_floating_point() else result


def _everything(x: Tensor) -> Tensor:
    return torch.full(x.shape, torch.inf, device=x.device)


def _combined(operands: list[Any], *, gated: bool) -> Tensor:
    """The elementwise maximum of the operands that depend on the input, in their common shape."""
    shape = torch.broadcast_shapes(*(x.shape for x in operands if isinstance(x, Tensor)))
    parts = [x.expand(shape) for x in operands if isinstance(x, Dependence)]
    # A product of gates alone is followed like any other.
    if gated:
        parts = [x for x in parts if not _is_gate(x)] or parts
    # Expanded axes (stride 0: all channels alike) stay expanded, or hundreds of equal channels
    # would be computed.
    for axis in range(len(shape)):
        if all(x.stride(axis) == 0 for x in parts):
            parts = [x.narrow(axis, 0, 1) for x in parts]
    return reduce(torch.maximum, parts).expand(shape)


def _is_gate(x: Tensor) -> bool:
    """Whether ``x`` is one value per image and channel, expanded to scale a whole map."""
    expanded = [size > 1 and step == 0 for size, step in zip(x.shape, x.stride(), strict=True)]
    return x.ndim == 4 and sum(expanded) >= 2  # in either order of the axes


def any_channel(x: Tensor, axis: int = 1) -> Tensor:
    """The maximum over the channels, kept as an axis of one; free where they are known alike."""
    if x.stride(axis) == 0 or x.shape[axis] == 1:
        return x.narrow(axis, 0, 1)
    return x.amax(axis, keepdim=True)


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return int(values[0]), int(values[-1])


# What torch's functions of these names read; the parameters are theirs.


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    *_: Any,
    **__: Any,
) -> Tensor:
    kernel, stride, dilation = weight.shape[2:], _pair(stride), _pair(dilation)
    x = any_channel(input)
    for axis in (0, 1):  # a maximum over a window is one over its rows, then over its columns
        reach = dilation[axis] * (kernel[axis] - 1)
        if isinstance(padding, str):
            before, after = (reach // 2, reach - reach // 2) if padding == "same" else (0, 0)
        else:
            before = after = _pair(padding)[axis]
        if kernel[axis] == stride[axis] == 1 and not before:
            continue
        x = F.pad(x, (before, after) if axis else (0, 0, before, after), value=-torch.inf)
        sizes = kernel[axis], stride[axis], dilation[axis]
        window, step, spread = ((1, n) if axis else (n, 1) for n in sizes)
        x = F.max_pool2d(x, window, step, 0, spread)
    return x.expand(-1, weight.shape[0], -1, -1)


def _max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> Tensor:
    pooled = F.max_pool2d(any_channel(input), kernel_size, stride, padding, dilation, ceil_mode)
    return pooled.expand(-1, input.shape[1], -1, -1)


def _avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *_: Any,
    **__: Any,
) -> Tensor:
    return _max_pool2d(input, kernel_size, stride, padding, 1, ceil_mode)


def _adaptive_pool2d(input: Tensor, output_size: Any, **_: Any) -> Tensor:
    return F.adaptive_max_pool2d(any_channel(input), output_size).expand(-1, input.shape[1], -1, -1)


def _linear(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return any_channel(input, input.ndim - 1).expand(*input.shape[:-1], weight.shape[0])


def _pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    return F.pad(input, pad, value=-torch.inf) if mode == "constant" else F.pad(input, pad, mode)


def _view(input: Tensor, *shape: Any) -> Tensor:
    return input.reshape(*shape)  # `contiguous` is no copy here, so a view may need one


def _cat(tensors: Any, dim: int = 0, **kwargs: Any) -> Tensor:
    parts = [x if isinstance(x, Dependence) else torch.full_like(x, -torch.inf) for x in tensors]
    dim = kwargs.get("axis", dim) % parts[0].ndim
    if dim != 1 or parts[0].ndim != 4:
        return torch.cat(parts, dim)
    channels = sum(x.shape[1] for x in parts)
    return reduce(torch.maximum, map(any_channel, parts)).expand(-1, channels, -1, -1)


def _interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **kwargs: Any
) -> Tensor:
    # What a cell reads in other modes depends on scale and alignment: given up, not guessed.
    result = F.interpolate(input, size, scale_factor, mode, **kwargs)
    return result if mode.startswith("nearest") else torch.full_like(result, torch.inf)


_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_pool2d,
    "adaptive_max_pool2d": _adaptive_pool2d,
    "linear": _linear,
    "pad": _pad,
    "view": _view,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "interpolate": _interpolate,
}
