"""Raw medical sources into 2D image/mask folders that can be trusted."""

__version__ = "0.1.0"

__all__ = ["__version__"]
