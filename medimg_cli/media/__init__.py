"""Pictures of volumes: display window, frames in true proportions, files that move.

This room takes backends, headers and tables, and knows no `Image`. Pictures follow the radiological convention: the
patient's left is on the right of axial and coronal ones, and sagittal ones look from the left; letters at the edges
say so.
"""
