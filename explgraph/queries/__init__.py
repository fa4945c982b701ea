"""Questions: functions of a workspace or a network, one module per command.

The names are listed in ``__init__.pyi`` beside this file. Each module is loaded when one of its
names is first asked for, so that the command line can read the options of a query without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
