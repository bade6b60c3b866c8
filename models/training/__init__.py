"""From features and bars to what a model is fitted on: labels, weights, samples and splits."""
