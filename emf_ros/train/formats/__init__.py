"""Motion capture for training: files of the usual formats to one npz at one rate."""
