"""Motion capture files of the usual formats, brought to h36m17 in metres with z up."""

import zipfile
import zlib


class FormatError(ValueError):
    """A motion capture file that cannot be read, or that does not show a person."""


#: What numpy raises for an .npz that is cut short, is no archive, or holds pickles.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
