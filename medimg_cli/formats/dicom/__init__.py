"""DICOM: files, series and folders of them, to images and back.

Each module knows one thing, and stands on those in front of it:

The header of one file:

- :mod:`~medimg_cli.formats.dicom.tags`: the elements that are read
- :mod:`~medimg_cli.formats.dicom.elements`: what they say
- :mod:`~medimg_cli.formats.dicom.walker`: where they lie in plain files
- :mod:`~medimg_cli.formats.dicom.reading`: what a file is, and its pixels
- :mod:`~medimg_cli.formats.dicom.identity`: who the patient is, where somebody asks

The two-dimensional frames in it, and where each lies:

- :mod:`~medimg_cli.formats.dicom.vectors`: positions and directions
- :mod:`~medimg_cli.formats.dicom.frames`: of any file
- :mod:`~medimg_cli.formats.dicom.groups`: functional groups, which say it of frames of one file
- :mod:`~medimg_cli.formats.dicom.multiframe`: files of several frames
- :mod:`~medimg_cli.formats.dicom.siemens`: private headers of Siemens
- :mod:`~medimg_cli.formats.dicom.diffusion`: b-values and directions of all makers
- :mod:`~medimg_cli.formats.dicom.mosaics`: slices that are tiles of one frame

The images that frames make:

- :mod:`~medimg_cli.formats.dicom.stacks`: which frames belong together
- :mod:`~medimg_cli.formats.dicom.ordering`: which of them are one volume
- :mod:`~medimg_cli.formats.dicom.placing`: their order, and the affine
- :mod:`~medimg_cli.formats.dicom.gaps`: slices between slices
- :mod:`~medimg_cli.formats.dicom.series`: the list of all images, and the one that is chosen

Their voxels:

- :mod:`~medimg_cli.formats.dicom.codestreams`: what an encoded frame says of itself
- :mod:`~medimg_cli.formats.dicom.decoding`: what decodes it
- :mod:`~medimg_cli.formats.dicom.encapsulation`: where it lies
- :mod:`~medimg_cli.formats.dicom.planes`: one stored frame, encoded or not
- :mod:`~medimg_cli.formats.dicom.palettes`: colours by number
- :mod:`~medimg_cli.formats.dicom.pixels`: all frames of an image

What they say of how they were made:

- :mod:`~medimg_cli.formats.dicom.describing`: under the names of BIDS
- :mod:`~medimg_cli.formats.dicom.protocols`: from private protocols
- :mod:`~medimg_cli.formats.dicom.readout`: how slices were read out
- :mod:`~medimg_cli.formats.dicom.bids`: the sidecar

Label maps:

- :mod:`~medimg_cli.formats.dicom.cielab`: colours
- :mod:`~medimg_cli.formats.dicom.segmentations`: a Segmentation as an image

Sources:

- :mod:`~medimg_cli.formats.dicom.scanning`: the DICOM files of a folder or a DICOMDIR
- :mod:`~medimg_cli.formats.dicom.opening`: one image of them
- :mod:`~medimg_cli.formats.dicom.archives`: one image of those in an archive
- :mod:`~medimg_cli.formats.dicom.catalogue`: all images of any source

Writing:

- :mod:`~medimg_cli.formats.dicom.objects`: what all objects that are written share
- :mod:`~medimg_cli.formats.dicom.templates`: what they take over from others
- :mod:`~medimg_cli.formats.dicom.series_files`: names of files, and all of them at once or none
- :mod:`~medimg_cli.formats.dicom.writing`: a series
- :mod:`~medimg_cli.formats.dicom.segmenting`: a Segmentation
- :mod:`~medimg_cli.formats.dicom.targets`: DICOM as the output of a command
"""
