"""DICOM: files, series and folders of them, to images and back.

What is read goes through these modules, each of which knows one thing:

- :mod:`~medimg_cli.formats.dicom.scanning` finds the files of a folder, a DICOMDIR or an archive;
- :mod:`~medimg_cli.formats.dicom.walker` and :mod:`~medimg_cli.formats.dicom.reading` read the header of one file;
- :mod:`~medimg_cli.formats.dicom.frames` says which two-dimensional frames it holds, and where each lies;
- :mod:`~medimg_cli.formats.dicom.stacks` splits frames into stacks, :mod:`~medimg_cli.formats.dicom.placing` puts one
  stack in order and in space;
- :mod:`~medimg_cli.formats.dicom.series` tells of all stacks, and chooses one;
- :mod:`~medimg_cli.formats.dicom.pixels` finds or decodes their pixels;
- :mod:`~medimg_cli.formats.dicom.opening` makes an image of it all.
"""
