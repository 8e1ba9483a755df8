"""What commands that make pictures do with images: stills, films, pages; for one input at a time."""
