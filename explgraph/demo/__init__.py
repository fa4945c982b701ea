"""The demo: generated creatures with known parts, a small CNN trained on them, the whole way.

`job` is the way, `pictures` unpacks the creatures, `network` is the CNN. A name is loaded when it
is first asked for, so that `explgraph.demo.network:demo_network` is a network and no more.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
