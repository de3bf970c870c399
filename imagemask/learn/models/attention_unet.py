"""The UNet with an attention gate on every skip connection: the decoder says which pixels of the encoder it takes.

Source: Oktay et al., Attention U-Net, MIDL 2018, arXiv:1804.03999, with the gate at the skip's own size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagemask.learn.models import unet

if TYPE_CHECKING:
    import keras


class Options(unet.Options):
    """The knobs of ``unet``; a gate has half the filters of its level."""


def build(options: Options) -> keras.Model:
    """The network. Raises UsageError for a height or width that cannot be halved ``levels - 1`` times."""
    unet.check_size(options)
    from imagemask.learn import blocks

    return blocks.network(options, name="attention_unet", gate=blocks.attention_gate)
