"""What training loops use: baked sets, copies made when they are read, and the transform."""
