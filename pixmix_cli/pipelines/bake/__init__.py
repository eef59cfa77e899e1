"""bake: a labelled dataset in, copies of it augmented with PixMix out."""
