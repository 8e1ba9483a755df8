"""Objects of other libraries to and from backends: nibabel, SimpleITK, ITK's pixels, xarray, MONAI.

A backend has its voxels as (C, I, J, K) and its world in RAS+ mm. Others count otherwise; each order crosses over in
one module of this room and nowhere else:

=================  ====================================  =====================================
library            axes of the array                     world
=================  ====================================  =====================================
nibabel            (I, J, K, further)                    RAS+
SimpleITK, itk     (T, K, J, I, component)               LPS+, no shear
xarray             by name: t, z, y, x, c                LPS+, as ``itk.xarray_from_image``
MONAI              (C, I, J, K)                          RAS+ (or what ``meta["space"]`` says)
=================  ====================================  =====================================

An `Image` has ``origin``, ``spacing``, ``direction`` and ``__array__`` itself, so that other libraries can take it as
it is. These count as everything here does: RAS+, ``direction`` with the axes i, j, k as columns, ``origin`` in the
order x, y, z and ``spacing`` in the order i, j, k, the array (C, I, J, K). For a library that expects ITK's LPS+ and
(K, J, I), hand over ``image.as_sitk()`` or ``image.to_xarray()``; `medimg_cli.spatial.check_spatial` says of any object
whether it is what it should be.
"""

from __future__ import annotations

from medimg_cli.interop.monai import to_monai
from medimg_cli.interop.nibabel import from_nibabel, to_nibabel
from medimg_cli.interop.sitk import from_sitk, to_sitk
from medimg_cli.interop.xarray import from_xarray, to_xarray

__all__ = ["from_nibabel", "from_sitk", "from_xarray", "to_monai", "to_nibabel", "to_sitk", "to_xarray"]
