"""File formats of recordings, a module each; `catalog` is their table."""
