"""One step on its own, as a run asks for it: it is done once, whichever try it is."""
