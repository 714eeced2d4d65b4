"""Exit codes of the nodes' processes, which the launch files tell apart."""

#: The node cannot start: a parameter, file or device is refused. Python has the same for a
#: failed import.
CANNOT_START = 1

#: The node has failed while it ran; sysexits.h calls it EX_SOFTWARE.
FAILED = 70
