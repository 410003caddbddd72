"""``bench try``: one component on one face, in this process, so that a debugger stops in the code of a plugin.

`setting` plans a small suite, `faces` finds the face, `client` has it protected, `judges` compare it, `kinds` has one
function for each kind of component, and `panel` draws the picture. These modules import torch.
"""
