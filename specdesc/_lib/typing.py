"""Names for annotations: at run time they say nothing."""

from typing import Any, TypeAlias

#: An array of any library that follows the Array API standard. The standard has no typed
#: protocol yet that all libraries satisfy, so this is `Any` with a name.
Array: TypeAlias = Any

#: The module of functions that belongs to an array, always called ``xp``.
Namespace: TypeAlias = Any

#: A dtype object or a device object of some library.
DType: TypeAlias = Any
Device: TypeAlias = Any
