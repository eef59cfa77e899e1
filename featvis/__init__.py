"""Feature visualizations: pictures that excite one channel of a classification network.

The public names, which `__init__.pyi` lists, load on first use: settings and errors need no torch.
`render` is both a module and its function: `from featvis.render import render`.
"""

import lazy_loader

__distribution__ = "pixmix"  # pixmix_cli looks for this line

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
