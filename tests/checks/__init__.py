"""Tests of the rules of ``medimg check``."""
