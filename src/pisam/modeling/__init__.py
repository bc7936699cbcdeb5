"""The network: SAM's frozen parts, the High-Resolution Mask Decoder and the Precise Interactor.

"Pi-SAM paper" in these modules: Liu et al., "Segment Anything with Precise Interaction", ACM MM 2024.
"""
