"""Motion capture files of the usual formats, brought to h36m17 in metres with z up."""


class FormatError(ValueError):
    """A motion capture file that cannot be read, or that does not show a person."""
