"""The rules of ``medimg check``: what is wrong with images, label maps, pairs and whole data sets.

From the ground up:

- :mod:`~medimg_cli.checks.rule`: what a rule is, and what it finds.
- :mod:`~medimg_cli.checks.limits`: the numbers that rules compare with.
- :mod:`~medimg_cli.checks.config`: which rules hold for which path, and what is expected there.
- :mod:`~medimg_cli.checks.subject`: one image under examination, and what is kept of it for its data set.
- :mod:`~medimg_cli.checks.integrity`, ``headers``, ``values``, ``labels``, ``sets``, ``series``, ``privacy``,
  ``expecting``: the groups of rules, a table each.
- :mod:`~medimg_cli.checks.rules`: all tables as one.
- :mod:`~medimg_cli.checks.examining`: one image, read once.
- :mod:`~medimg_cli.checks.checking`: many paths, several at a time.

To add a rule, write one function and give it one row in the table of its group. Nothing here prints.
"""
