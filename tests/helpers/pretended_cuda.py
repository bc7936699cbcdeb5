"""A CUDA device that is pretended: its tensors say `cuda:0`, hold numbers, and refuse what a card refuses.

For torch they lie on `meta`, so that what torch itself makes beside them says so, and is put on the card.
Needs no GPU, no compiler and no build of torch with CUDA.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric.accelerators import CUDAAccelerator as FabricAccelerator
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from pisam.modeling import deformable_kernels

CUDA, HOST, PLACE = torch.device("cuda", 0), torch.device("cpu"), torch.device("meta")
RANKS = 4
aten = torch.ops.aten
ACROSS = (aten._to_copy.default, aten.copy_.default)
INDEXED = (
    *(aten.index.Tensor, aten._unsafe_index.Tensor),
    *(aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default),
)
WAITS = {  # the sizes or values of what comes out are known to the card alone
    *(aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default, aten.nonzero.default),
    *(aten.masked_select.default, aten._unique2.default, aten.unique_consecutive.default),
    aten.repeat_interleave.Tensor,
}
# What autocast computes with 16 bits, and what with 32.
LOWERED = {F.linear, torch.conv2d, torch.conv_transpose2d, torch.matmul, torch.bmm, torch.einsum}
LOWERED |= {Tensor.matmul, Tensor.__matmul__, Tensor.bmm, F.scaled_dot_product_attention}
RAISED = {F.layer_norm, F.softmax, torch.softmax, Tensor.softmax, F.binary_cross_entropy_with_logits}
plain_to, plain_tensor, plain_as_tensor, plain_autocast = (
    Tensor.to,
    torch.tensor,
    torch.as_tensor,
    torch.autocast,
)


class OnCard(Tensor):
    """A tensor of the pretended card; `inner` has its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCard:
        made: OnCard = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=PLACE,
        )
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None:
        pass

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Card.now.call(func, args, kwargs or {})

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnCard({self.inner!r})"

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(plain_tensor(p) if isinstance(p, list) else p for p in parts))

    def __setitem__(self, index: Any, value: Any) -> None:
        known = isinstance(value, Tensor)
        super().__setitem__(index, value if known else OnCard(plain_tensor(value, dtype=self.dtype)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().inner.__reduce_ex__(protocol)

    def cuda(self, *_: Any, **__: Any) -> OnCard:
        return self

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def pin_memory(self, *_: Any) -> Any:
        raise RuntimeError("cannot pin 'cuda' memory")

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()


def on_card(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


class Card(TorchDispatchMode):
    """Runs what is asked of the card, and notes where the host waits for it or speaks to other ranks.

    Attributes:
        waits: operation and line of this package of each wait.
        collectives: name and line of each exchange between ranks.
    """

    now: ClassVar[Card]

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.collectives: list[str] = []
        Card.now = self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(func, args, kwargs or {})

    def call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        flat, spec = tree_flatten((args, kwargs))
        there = [value for value in flat if isinstance(value, OnCard)]
        here = [v for v in flat if isinstance(v, Tensor) and not isinstance(v, OnCard) and v.dim()]
        device = kwargs.get("device")
        to_card = on_card(device) if device is not None else bool(there)
        if func in ACROSS:
            source = isinstance(args[0 if func is ACROSS[0] else 1], OnCard)
            to_card = isinstance(args[0], OnCard) if func is ACROSS[1] or device is None else to_card
            waits = not kwargs.get("non_blocking") and args[2:3] != (True,)
            if source != to_card and (source or waits):
                self.note(f"{func} {'to the host' if source else 'to the card'}")
        elif there and here:
            self._refuse_mixed(func, args, here)
        if there and (func in WAITS or (func in INDEXED and any(map(_is_mask, args[1] or [])))):
            self.note(str(func))
        back = {id(value.inner): value for value in there}
        args, kwargs = tree_unflatten([_inner(value) for value in flat], spec)
        if "pin_memory" in kwargs:
            kwargs = {**kwargs, "pin_memory": False}
        result = func(*args, **kwargs)

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            known = back.get(id(value))  # in place
            return OnCard(value) if known is None else known

        return tree_map(wrapped, result) if to_card else result

    def _refuse_mixed(self, func: Any, args: Any, here: list[Tensor]) -> None:
        if func in INDEXED and all(any(value is index for index in args[1]) for value in here):
            self.note(f"{func} with an index of the host")
            return
        shapes = [tuple(value.shape) for value in here]
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, found cpu {shapes} and cuda:0"
        )

    def note(self, what: str) -> None:
        """A wait."""
        self.waits.append(f"{what} at {_line()}")

    def exchange(self, what: str, *tensors: Tensor) -> None:
        """Note a collective; NCCL takes tensors of the card alone.

        Raises:
            RuntimeError: a tensor of the host.
        """
        self.collectives.append(f"{what} at {_line()}")
        if not all(isinstance(tensor, OnCard) for tensor in tensors):
            raise RuntimeError(f"{what}: No backend type associated with device type cpu")


def _is_mask(index: Any) -> bool:
    return isinstance(index, OnCard) and index.dtype in (torch.bool, torch.uint8)


def _inner(value: Any) -> Any:
    if isinstance(value, OnCard):
        return value.inner
    if isinstance(value, Tensor) and value.is_meta:
        raise RuntimeError("a tensor was made for the card where nobody saw it")
    return HOST if isinstance(value, torch.device) and on_card(value) else value


def _line() -> str:
    """The innermost line outside of torch and this file; for one of a library, also that of this package."""
    frame, lines = sys._getframe(2), []
    while frame is not None:
        file = frame.f_code.co_filename
        if "/torch/" not in file and file != __file__ and (not lines or "/src/pisam/" in file):
            lines.append(f"{file}:{frame.f_lineno}")
            if "/src/pisam/" in file:
                break
        frame = frame.f_back  # type: ignore[assignment]
    return " of ".join(lines)


class Autocast(TorchFunctionMode):
    """`torch.autocast` of the card, in its essence; others' is torch's own."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, **_: Any) -> None:
        super().__init__()
        self.dtype, self.enabled = dtype or torch.float16, enabled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        wanted = self.dtype if func in LOWERED else torch.float32 if func in RAISED else None
        if self.enabled and wanted is not None:
            args, kwargs = tree_map(lambda v: _cast(v, wanted), (args, kwargs))
        elif not self.enabled:
            with torch._C.DisableTorchFunction():  # also for what is further out
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, OnCard) and value.is_floating_point() else value


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`, told where another tensor really lies, and which card is meant."""
    place = PLACE if isinstance(self, OnCard) else CUDA
    if args and isinstance(args[0], OnCard):
        args = (place, args[0].dtype, *args[1:])
    elif args and isinstance(args[0], str | torch.device) and on_card(args[0]):
        args = (place, *args[1:])
    if on_card(kwargs.get("device")):
        kwargs["device"] = place
    return plain_to(self, *args, **kwargs)


def _tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    made = (
        plain_tensor(data, *args, **kwargs)
        if on_card(device)
        else plain_tensor(data, *args, device=device, **kwargs)
    )
    return made.to(device) if on_card(device) else made


def _as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    return (
        _tensor(data, dtype=dtype, device=device) if on_card(device) else plain_as_tensor(data, dtype, device)
    )


def _new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    return _tensor(data, dtype=dtype or self.dtype, device=device or self.device)


class PretendedAccelerator(CUDAAccelerator):
    """Lightning's, without what asks the driver."""

    def setup_device(self, device: torch.device) -> None:
        pass

    def setup(self, trainer: Any) -> None:
        pass

    def teardown(self) -> None:
        pass


class FabricCuda(FabricAccelerator):
    """The same for Fabric."""

    def setup_device(self, device: torch.device) -> None:
        pass

    def teardown(self) -> None:
        pass


class Ranks(SingleDeviceStrategy):
    """Four ranks on a card each, of which this process is the first and the others say the same."""

    def __init__(self) -> None:
        super().__init__(CUDA, PretendedAccelerator())
        self.world_size = RANKS

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(tensor, Tensor):
            Card.now.exchange("reduce", tensor)
        return tensor

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        Card.now.exchange("barrier")

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        Card.now.exchange("broadcast")
        return obj

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        Card.now.exchange("reduce", _tensor(int(decision), device=CUDA))
        Card.now.note("the ranks' decision")
        return decision


def _all_gather(rows: list[Tensor], row: Tensor) -> None:
    Card.now.exchange("all_gather", row, *rows)
    for each in rows:
        each.copy_(row)


def _all_gather_object(values: list[Any], value: Any) -> None:
    Card.now.exchange("all_gather_object")
    values[:] = [value] * len(values)


@contextmanager
def pretended_cuda() -> Iterator[Card]:
    """One card with the memory of an H100, and three ranks more that do the same."""
    card = Card()
    facts = SimpleNamespace(total_memory=80 * 2**30, name="pretended", major=9, minor=0)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in {
            "is_available": True,
            "is_initialized": True,
            "device_count": 1,
            "current_device": 0,
            "is_bf16_supported": True,
            "get_device_name": "pretended",
            "get_device_capability": (9, 0),
            "get_device_properties": facts,
            "max_memory_allocated": 2**30,
            **dict.fromkeys(
                ("_lazy_init", "set_device", "reset_peak_memory_stats", "empty_cache", "manual_seed_all")
            ),
            **dict.fromkeys(("synchronize", "manual_seed", "set_rng_state", "set_rng_state_all")),
            "get_rng_state": torch.zeros(16, dtype=torch.uint8),
            "get_rng_state_all": [],
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, given=value, **__: given)
        patch.setattr(torch, "tensor", _tensor)
        patch.setattr(torch, "as_tensor", _as_tensor)
        patch.setattr(torch, "inference_mode", lambda *_: torch.no_grad())
        patch.setattr(
            torch, "autocast", lambda kind, **k: (Autocast if kind == "cuda" else plain_autocast)(kind, **k)
        )
        patch.setattr(Tensor, "to", _to)
        patch.setattr(Tensor, "new_tensor", _new_tensor)
        patch.setattr(Tensor, "pin_memory", lambda self, *_: self)
        patch.setattr(deformable_kernels, "AVAILABLE", False)  # Triton speaks to the driver
        for check in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            patch.setattr(torch.optim.Optimizer, check, lambda *_: None, raising=False)
        patch.setattr(torch.distributed, "all_gather", _all_gather)
        patch.setattr(torch.distributed, "all_gather_object", _all_gather_object)
        stack.callback(
            torch.__future__.set_overwrite_module_params_on_conversion,
            torch.__future__.get_overwrite_module_params_on_conversion(),
        )
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        with card:
            yield card
