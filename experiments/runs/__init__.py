"""What the experiments on accuracy and non-locality share: models, cases, trainings that resume, tables."""
