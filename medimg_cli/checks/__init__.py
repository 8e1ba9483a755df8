"""The rules of ``medimg check``: what is wrong with images, label maps, pairs and whole data sets.

From the ground up; each module stands on those that are listed before it.

What rules are, and what holds where:

- :mod:`~medimg_cli.checks.rule`: what a rule is, and what it finds.
- :mod:`~medimg_cli.checks.limits`: the numbers that rules compare with.
- :mod:`~medimg_cli.checks.phrases`: words that messages have in common.
- :mod:`~medimg_cli.checks.measures`: facts of which something may be expected.
- :mod:`~medimg_cli.checks.expectations`: how expectations are written, and whether they are met.
- :mod:`~medimg_cli.checks.patterns`: patterns of paths.
- :mod:`~medimg_cli.checks.config`: which rules hold for which path, and what is expected there.

What rules look at:

- :mod:`~medimg_cli.checks.file_names`: what names say: label maps, kinds of images, subjects.
- :mod:`~medimg_cli.checks.identity_words`: words that tell who somebody is.
- :mod:`~medimg_cli.checks.clues`: where in an image such words may stand.
- :mod:`~medimg_cli.checks.subject`: one image under examination, and what is kept of it for its data set.
- :mod:`~medimg_cli.checks.numbers`, :mod:`~medimg_cli.checks.tails`, :mod:`~medimg_cli.checks.slices`,
  :mod:`~medimg_cli.checks.islands`: what is gathered in the one pass over voxels.
- :mod:`~medimg_cli.checks.pairing`: which label map belongs to which image.
- :mod:`~medimg_cli.checks.outliers`, :mod:`~medimg_cli.checks.duplicates`, :mod:`~medimg_cli.checks.mirrored`: images
  that are unlike others of their kind, like others of another name, or unlike others of their subject.
- :mod:`~medimg_cli.checks.dataset`: all images of a run.
- :mod:`~medimg_cli.checks.header_stated`: geometry as a raw header states it.

The groups of rules, a table each:

- :mod:`~medimg_cli.checks.header_geometry`, :mod:`~medimg_cli.checks.header_time`,
  :mod:`~medimg_cli.checks.header_fields`, :mod:`~medimg_cli.checks.header_meaning`: the topics of H.
- :mod:`~medimg_cli.checks.headers`: H, headers.
- :mod:`~medimg_cli.checks.series`: D, DICOM series.
- :mod:`~medimg_cli.checks.integrity`: F, files.
- :mod:`~medimg_cli.checks.values`: V, values.
- :mod:`~medimg_cli.checks.labels`: L, label maps.
- :mod:`~medimg_cli.checks.sets`: S, pairs and sets.
- :mod:`~medimg_cli.checks.privacy`: P, privacy.
- :mod:`~medimg_cli.checks.expecting`: E, expectations.
- :mod:`~medimg_cli.checks.rules`: all tables as one.

A run:

- :mod:`~medimg_cli.checks.selecting`: which rules people mean.
- :mod:`~medimg_cli.checks.config_files`: where configuration files are.
- :mod:`~medimg_cli.checks.configuring`: from a file and a command line to a configuration.
- :mod:`~medimg_cli.checks.baseline`: findings that somebody lives with.
- :mod:`~medimg_cli.checks.fixing`: what ``--fix`` writes.
- :mod:`~medimg_cli.checks.examining`: one image, read once.
- :mod:`~medimg_cli.checks.checking`: many paths, several at a time, and then all of them together.
- :mod:`~medimg_cli.checks.forms`: findings as JSON, JUnit, SARIF and their like.

To add a rule, write one function and give it one row in the table of its group. Nothing here prints.
"""
