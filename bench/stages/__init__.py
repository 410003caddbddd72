"""What stages compute: the code of each kind of stage, and the checks around every plugin call.

It needs torch, so in a run only worker processes import it.
"""
