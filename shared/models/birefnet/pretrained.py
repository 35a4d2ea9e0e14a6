"""BiRefNet as a model of transformers, for those who open or publish checkpoints. The server does not import it."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from shared.models.birefnet.config import BiRefNetConfig
from shared.models.birefnet.network import BiRefNet, initial_weights
from shared.models.birefnet.swin import WindowAttention, relative_position_index
from shared.models.birefnet.tiles import TILE_GRIDS, from_legacy, settle_patch_order


class BiRefNetPreTrainedConfig(PreTrainedConfig):
    """The fields of `BiRefNetConfig` as a configuration of transformers. Raises ValueError as that does."""

    model_type: ClassVar[str] = BiRefNetConfig.model_type

    def __init__(self, **values: Any) -> None:
        sizes = BiRefNetConfig.from_dict(values).to_dict()
        del sizes["model_type"]
        super().__init__(**{name: value for name, value in values.items() if name not in sizes})
        for name, value in sizes.items():
            setattr(self, name, value)

    def sizes(self) -> BiRefNetConfig:
        """The same as our own record."""
        return BiRefNetConfig.from_dict(vars(self))


class BiRefNetModel(PreTrainedModel):
    """`BiRefNet` with `from_pretrained` and `save_pretrained`; the same keys, input and output."""

    config_class = BiRefNetPreTrainedConfig
    base_model_prefix: ClassVar[str] = ""
    main_input_name: ClassVar[str] = "image"
    _supports_sdpa: ClassVar[bool] = True

    def __init__(self, config: BiRefNetPreTrainedConfig) -> None:
        super().__init__(config)
        network = BiRefNet(config.sizes())
        self.bb, self.squeeze_module, self.decoder = network.bb, network.squeeze_module, network.decoder
        object.__setattr__(self, "network", network)  # not a submodule: its children are registered here already
        self.post_init()

    def forward(self, image: Tensor) -> Tensor:
        """Normalised (B, 3, H, W) -> logits (B, 1, H, W)."""
        logits: Tensor = self.plain(image)
        return logits

    @property
    def plain(self) -> BiRefNet:
        """The network itself; it shares the weights."""
        return cast("BiRefNet", vars(self)["network"])

    @classmethod
    def of(cls, network: BiRefNet) -> "BiRefNetModel":
        """A model that shares the weights of `network`."""
        with torch.device("meta"):
            model = cls(BiRefNetPreTrainedConfig(**network.config.to_dict()))
        model.load_state_dict(network.state_dict(keep_vars=True), assign=True)
        return model.train(network.training)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the weights are brought into the current tile order, in which the network runs."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._adopt_current_tile_order()
        return loaded

    @torch.no_grad()
    def _adopt_current_tile_order(self) -> None:
        convs = [self.get_submodule(f"decoder.ipt_blk{block}.conv1") for block in TILE_GRIDS]
        telling = cast("Tensor", convs[0].weight)
        if settle_patch_order(self.config.patch_order, telling, None) == "legacy":
            for conv in convs:
                weight = cast("Tensor", conv.weight)
                weight.copy_(from_legacy(weight))
        self.config.patch_order = self.plain.config.patch_order = "current"

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, WindowAttention):
            init.copy_(module.relative_position_index, relative_position_index(module.window))
        if isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d):
            super()._init_weights(module)
        else:
            initial_weights(module)
