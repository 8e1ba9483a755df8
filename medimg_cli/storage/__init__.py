"""Bytes: where they come from, how they are compressed, where voxels lie in them, and how they are written safely."""
