"""`emf-ros doctor`: checks of this machine and of a running graph, each problem with its fix.

A check is a function that returns results. It needs no ROS, and no package that it checks: those
are imported where a check uses them. `report.CHECKS` lists the checks in their order.
"""
