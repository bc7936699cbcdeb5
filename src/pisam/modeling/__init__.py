"""The network: SAM's frozen parts, the High-Resolution Mask Decoder and the Precise Interactor."""
