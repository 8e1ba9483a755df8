"""The rules of ``medimg check``: what is wrong with images, label maps, pairs and whole data sets.

From the ground up:

- :mod:`~medimg_cli.checks.rule`: what a rule is, and what it finds.
- :mod:`~medimg_cli.checks.limits`: the numbers that rules compare with.
- :mod:`~medimg_cli.checks.measures`, :mod:`~medimg_cli.checks.expectations`: facts of which something may be expected,
  and how that is written.
- :mod:`~medimg_cli.checks.patterns`: patterns of paths.
- :mod:`~medimg_cli.checks.config`: which rules hold for which path, and what is expected there.
- :mod:`~medimg_cli.checks.label_names`: which names label maps have.
- :mod:`~medimg_cli.checks.subject`: one image under examination, and what is kept of it for its data set.
- :mod:`~medimg_cli.checks.numbers`, :mod:`~medimg_cli.checks.slices`, :mod:`~medimg_cli.checks.islands`: what is
  gathered in the one pass over voxels.
- :mod:`~medimg_cli.checks.phrases`: words that messages have in common.
- :mod:`~medimg_cli.checks.integrity`, ``headers``, ``values``, ``labels``, ``sets``, ``series``, ``privacy``,
  ``expecting``: the groups of rules, a table each. That of headers is made of ``header_geometry``, ``header_time``,
  ``header_fields`` and ``header_meaning``; that of sets looks at a ``dataset``, and is made of ``pairing`` (which label
  map belongs to which image), ``outliers``, ``duplicates`` and ``mirrored``; that of privacy asks ``clues`` (where to
  look) and ``identity_words`` (for what).
- :mod:`~medimg_cli.checks.rules`: all tables as one.
- :mod:`~medimg_cli.checks.fixing`: what ``--fix`` writes.
- :mod:`~medimg_cli.checks.selecting`, :mod:`~medimg_cli.checks.config_files`, :mod:`~medimg_cli.checks.configuring`: from
  words, files and a command line to a configuration.
- :mod:`~medimg_cli.checks.baseline`: findings that somebody lives with.
- :mod:`~medimg_cli.checks.examining`: one image, read once.
- :mod:`~medimg_cli.checks.checking`: many paths, several at a time.

To add a rule, write one function and give it one row in the table of its group. Nothing here prints.
"""
