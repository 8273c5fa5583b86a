"""Public names of a package that are imported from its modules when they are first used.

So `import hq_sam_hf.masks` imports neither torch nor the modules that are not needed, and users still import from the
package: `from hq_sam_hf.masks import mask_to_rle`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_exports(
    package: str, names_by_module: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package (PEP 562).

    names_by_module: the public names of each module, which is given relative to the package, such as "rle". A name
        must not equal that of a module of the package: the import of the module would replace it.
    """
    module_of = {name: module for module, names in names_by_module.items() for name in names}

    def get_attribute(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def list_attributes() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get_attribute, list_attributes


__all__ = ["lazy_exports"]
